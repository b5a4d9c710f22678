// Formatting a primary's metadata, in steps that a crash can stop anywhere.
//
//   begin: write `formatting` superblocks   (then the caller creates the replica)   finish: wipe the
//   flush log and the maps, write empty dirty and staged maps, then write `formatted` superblocks
//
// Why this order: between begin and finish the primary itself says which device is being made and
// where its replica goes. A second format finds that and goes on with the same UUID instead of
// leaving an orphan replica behind; nobody else accepts the state. When creating the replica fails,
// rollBack() puts back what lay in the superblocks' place, so that a format that failed has changed
// nothing.
//
// Replacing one identity by another: blank the copy that is not in force, flush, write the copy that
// is, flush, write the blanked one, flush. At every cut the copies show the old identity alone, the
// new one alone, or none: never two that contradict.
//
// Callers: format.

import { invariant } from "../base/assert.ts";
import type { PrimaryLayout } from "../format/primary_layout.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import { chooseSuperblock, encodeSuperblock, type Superblock } from "../format/superblock.ts";
import { MiB } from "../base/units.ts";
import { writeEmptyMap } from "./dirty_map.ts";
import type { Disk } from "./disk.ts";
import { PrimaryMetadata, readSuperblockPages, writeSuperblockCopy } from "./metadata.ts";

const WIPE_CHUNK_BYTES = MiB;

/** A primary between the first and the last step of its format. */
export class UnfinishedFormat {
  readonly #disk: Disk;
  readonly #layout: PrimaryLayout;
  readonly #superblock: Superblock;
  readonly #before: readonly Uint8Array[];

  private constructor(
    disk: Disk,
    layout: PrimaryLayout,
    superblock: Superblock,
    before: readonly Uint8Array[],
  ) {
    this.#disk = disk;
    this.#layout = layout;
    this.#superblock = superblock;
    this.#before = before;
  }

  /**
   * Writes the intent. `superblock` has the state `formatting` and a sequence above any that the
   * copies show, so that it also continues an interrupted format of the same device.
   */
  static async begin(
    disk: Disk,
    layout: PrimaryLayout,
    superblock: Superblock,
  ): Promise<UnfinishedFormat> {
    invariant(superblock.state === "formatting", "a format begins with its intent");
    const pages = await readSuperblockPages(disk);
    const before = pages.map((page) => page ?? new Uint8Array(PAGE_BYTES));
    const page = encodeSuperblock(superblock);
    await replaceSuperblocks(disk, [page, page]);
    return new UnfinishedFormat(disk, layout, superblock, before);
  }

  /** Puts back what lay in the superblocks' place before begin(). */
  async rollBack(): Promise<void> {
    await replaceSuperblocks(this.#disk, this.#before);
  }

  /** Wipes what an earlier format left in the other areas and declares the primary formatted. */
  async finish(nowMs: number): Promise<void> {
    const { metadataOffsetBytes, superblockOffsetsBytes } = this.#layout;
    const zeroes = new Uint8Array(WIPE_CHUNK_BYTES);
    const end = superblockOffsetsBytes[0];
    for (let at = metadataOffsetBytes; at < end; at += WIPE_CHUNK_BYTES) {
      await this.#disk.write(at, zeroes.subarray(0, Math.min(WIPE_CHUNK_BYTES, end - at)));
    }
    const { uuid } = this.#superblock;
    await writeEmptyMap(this.#disk, this.#layout, { uuid, map: "dirty" });
    await writeEmptyMap(this.#disk, this.#layout, { uuid, map: "staged" });
    await this.#disk.flush();
    await PrimaryMetadata.finishFormat(this.#disk, this.#superblock, nowMs);
  }
}

/** Replaces both copies by pages of another identity, or of none. */
async function replaceSuperblocks(disk: Disk, pages: readonly Uint8Array[]): Promise<void> {
  const now = chooseSuperblock(await readSuperblockPages(disk));
  const inForce = now.kind === "valid" ? now.winner : 1;
  await writeSuperblockCopy(disk, 1 - inForce, new Uint8Array(PAGE_BYTES));
  await writeSuperblockCopy(disk, inForce, pages[inForce]);
  await writeSuperblockCopy(disk, 1 - inForce, pages[1 - inForce]);
}
