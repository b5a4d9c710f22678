// The metadata of a formatted primary, loaded and kept: superblock and flush log.
//
// Write order of a superblock, and why a crash at any point leaves one valid copy:
//   1. write the copy that does NOT hold the current state     3. write the other copy
//   2. flush                                                   4. flush
// - Power cut before 2 is done: the first copy is old, new or torn; the second was not touched and
//   holds the current state. The load takes the new state if it is whole, else the current one.
// - Power cut after 2: the first copy holds the new state for certain, and wins by its sequence
//   whatever became of the second.
// - The copy to begin with is chosen by content, not by number: had a cut torn copy 1 and the next
//   store begun with copy 0, the only valid copy would be at risk.
// - A sequence is never used twice, not even after a write error, so two contents of one sequence
//   can't exist. A write that the disk swallowed leaves one copy behind: the other one wins.
//
// Write order of the flush log: record n goes to slot n mod 16, then flush. The record is appended
// after the commit it tells of (R12). A cut leaves the old content of that slot (record n - 16), the
// new record or a torn page: in the first and the last case record n - 1 is the newest, and the
// start-up sees a replica one commit ahead and adopts it. A failed append is repeated in the same
// slot, so record n - 1 is never overwritten by an attempt at n.
//
// Rooms: at any time one instance stores superblocks, and one (the same or another) appends to the
// flush log: they write different pages. A room that takes over from another loads anew, because a
// sequence must not be used twice. Calls of one instance must not overlap.
// Callers: device start and stop, the replicator's commit, format.

import { invariant } from "../base/assert.ts";
import { dataError, messageOf, ReplicaError, usageError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import {
  decodeFlushLog,
  encodeFlushRecord,
  FLUSH_LOG_BYTES,
  FLUSH_LOG_SLOTS,
  flushHistory,
  flushLogPages,
  flushLogSlot,
  type FlushRecord,
  recordableEtag,
} from "../format/flush_log.ts";
import { type PrimaryLayout, primaryLayout, superblockOffsets } from "../format/primary_layout.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import {
  chooseSuperblock,
  encodeSuperblock,
  type Superblock,
  type SuperblockVerdict,
} from "../format/superblock.ts";
import type { Disk } from "./disk.ts";

/** What a commit leaves in the flush log; what is not known is 0 or empty. */
export type FlushEntry =
  & Pick<FlushRecord, "cno" | "timeMs" | "committedBytes">
  & Partial<Pick<FlushRecord, "ringPosition" | "inodeEtag" | "checkpointDigest">>;

/** The superblock copies as they lie on the disk; null for a copy that can't be read. */
export async function readSuperblockPages(disk: Disk): Promise<(Uint8Array | null)[]> {
  const offsets = superblockOffsets(disk.sizeBytes);
  return offsets === null ? [] : await readEach(disk, offsets);
}

/** What the superblock copies of any disk say, formatted by us or not. */
export async function readSuperblock(disk: Disk): Promise<SuperblockVerdict> {
  return chooseSuperblock(await readSuperblockPages(disk));
}

export class PrimaryMetadata {
  readonly #disk: Disk;
  readonly layout: PrimaryLayout;
  #superblock: Superblock;
  /** The copy that is known to hold #superblock. */
  #winner: number;
  #redundant: boolean;
  /** The last sequence tried, which is above #superblock's after a write error. */
  #sequence: number;
  #history: FlushRecord[];
  #busy = false;
  /** Flush log slots that were damaged or unreadable when the log was loaded. */
  readonly damagedSlots: readonly number[];
  /** The slot of the record after the newest one that was found, if it may hold one: why it does not show. */
  readonly hiddenRecord: "unreadable" | "damaged" | null;

  private constructor(
    disk: Disk,
    verdict: Extract<SuperblockVerdict, { kind: "valid" }>,
    log: Pick<PrimaryMetadata, "damagedSlots" | "hiddenRecord"> & { history: FlushRecord[] },
  ) {
    this.#disk = disk;
    this.#superblock = verdict.superblock;
    this.#winner = verdict.winner;
    this.#redundant = verdict.redundant;
    this.#sequence = verdict.superblock.sequence;
    this.layout = layoutOf(disk, verdict.superblock);
    this.#history = log.history;
    this.damagedSlots = log.damagedSlots;
    this.hiddenRecord = log.hiddenRecord;
  }

  /**
   * Loads the metadata of a formatted primary. A usage error: not formatted, or not to the end; a
   * data error: damaged, contradictory, of a later version, or the primary changed its size.
   */
  static async load(disk: Disk): Promise<PrimaryMetadata> {
    const verdict = requireFormatted(disk, await readSuperblock(disk));
    const layout = layoutOf(disk, verdict.superblock);
    return new PrimaryMetadata(
      disk,
      verdict,
      await readFlushLog(disk, layout, verdict.superblock.uuid),
    );
  }

  /** The last step of format: both copies hold `intent`, and now become those of a whole device. */
  static async finishFormat(disk: Disk, intent: Superblock, nowMs: number): Promise<void> {
    invariant(intent.state === "formatting", "only an unfinished format is finished");
    const verdict = { kind: "valid", superblock: intent, winner: 0, redundant: true } as const;
    const log = { history: [], damagedSlots: [], hiddenRecord: null };
    const metadata = new PrimaryMetadata(disk, verdict, log);
    await metadata.storeSuperblock({ state: "formatted", writtenMs: nowMs });
  }

  get superblock(): Superblock {
    return this.#superblock;
  }

  /** Both superblock copies are whole and the same. The next store makes it so again. */
  get redundant(): boolean {
    return this.#redundant;
  }

  /** The last up to 16 commits, oldest first. */
  get history(): readonly FlushRecord[] {
    return this.#history;
  }

  /** The newest commit that the primary knows of. */
  get lastFlush(): FlushRecord | null {
    return this.#history.at(-1) ?? null;
  }

  /**
   * Only when the replica's last checkpoint equals the primary and the primary is flushed. Leaves
   * `diverged` as it is.
   */
  markClean(nowMs: number): Promise<void> {
    const state = this.#superblock.state === "diverged" ? "diverged" : "clean";
    return this.storeSuperblock({ state, writtenMs: nowMs });
  }

  /** Durable when it resolves: from now on the replica lacks writes that the primary has. */
  markDiverged(nowMs: number): Promise<void> {
    return this.storeSuperblock({ state: "diverged", writtenMs: nowMs });
  }

  /** Replaces fields of the superblock; durable in both copies when it resolves. */
  storeSuperblock(
    changes: Partial<Omit<Superblock, "uuid" | "sequence" | "primarySizeBytes">>,
  ): Promise<void> {
    return this.#exclusively(async () => {
      this.#sequence++;
      const next = { ...this.#superblock, ...changes, sequence: this.#sequence };
      const page = encodeSuperblock(next);
      const first = 1 - this.#winner;
      this.#redundant = false;
      await hit("metadata.before-superblock");
      await writeSuperblockCopy(this.#disk, first, page);
      this.#superblock = next;
      this.#winner = first;
      await hit("metadata.between-superblocks");
      await writeSuperblockCopy(this.#disk, 1 - first, page);
      this.#redundant = true;
      await hit("metadata.after-superblocks");
    });
  }

  /** Appends one commit; durable when it resolves. After an error the call may be repeated. */
  async appendFlushLog(entry: FlushEntry): Promise<void> {
    invariant(entry.cno > (this.lastFlush?.cno ?? -1), "checkpoint numbers grow");
    await this.beginFlushLog(entry);
  }

  /** Appends a record that says where the replica stands, wherever that is. */
  beginFlushLog(entry: FlushEntry): Promise<void> {
    return this.#exclusively(async () => {
      const last = this.lastFlush;
      const sequence = (last?.sequence ?? 0) + 1;
      const unknown = { ringPosition: 0, inodeEtag: "", checkpointDigest: "" };
      const known = { ...entry, inodeEtag: recordableEtag(entry.inodeEtag) };
      const record = { ...unknown, ...known, uuid: this.#superblock.uuid, sequence };
      const offset = this.layout.flushLogOffsetBytes + flushLogSlot(sequence) * PAGE_BYTES;
      await hit("metadata.before-flush-log");
      await this.#disk.write(offset, encodeFlushRecord(record));
      await hit("metadata.before-flush-log-flush");
      await this.#disk.flush();
      this.#history = [...this.#history, record].slice(-FLUSH_LOG_SLOTS);
      await hit("metadata.after-flush-log");
    });
  }

  async #exclusively(run: () => Promise<void>): Promise<void> {
    invariant(!this.#busy, "metadata writes of one instance do not overlap");
    this.#busy = true;
    try {
      await run();
    } finally {
      this.#busy = false;
    }
  }
}

/** Writes one superblock copy and makes it durable. */
export async function writeSuperblockCopy(
  disk: Disk,
  copy: number,
  page: Uint8Array,
): Promise<void> {
  const offsets = superblockOffsets(disk.sizeBytes);
  invariant(offsets !== null, "a primary has room for its superblocks");
  await disk.write(offsets[copy], page);
  await disk.flush();
}

function requireFormatted(
  disk: Disk,
  verdict: SuperblockVerdict,
): Extract<SuperblockVerdict, { kind: "valid" }> {
  const subject = `Cannot use the primary ${disk.name}`;
  switch (verdict.kind) {
    case "absent":
      throw usageError(`${subject}: it is not formatted`, {
        hint: "Run hyper-io-replica format first, or check the path.",
      });
    case "damaged":
      throw dataError(`${subject}: no superblock copy is whole: ${verdict.reason}`, {
        hint: "Look at it with hyper-io-replica inspect. The device data itself is not touched.",
      });
    case "conflict":
      throw dataError(`${subject}: ${verdict.reason}`, {
        hint: "Look at it with hyper-io-replica inspect; format --force writes a new identity.",
      });
    case "unsupported":
      throw dataError(`${subject}: it was written by another version: ${verdict.reason}`, {
        hint: "Use the version of hyper-io-replica that wrote it, or a later one.",
      });
    case "valid":
      if (verdict.superblock.state === "formatting") {
        throw usageError(`${subject}: formatting it was interrupted`, {
          hint: "Run the same format command again: it goes on where it stopped.",
        });
      }
      return verdict;
  }
}

/** The layout that a superblock describes; a data error when it can't be this disk's. */
export function layoutOf(disk: Disk, superblock: Superblock): PrimaryLayout {
  if (superblock.primarySizeBytes !== disk.sizeBytes) {
    throw dataError(
      `Cannot use the primary ${disk.name}: it was formatted with ${superblock.primarySizeBytes} ` +
        `bytes and has ${disk.sizeBytes} now`,
      { hint: "Give the primary its old size again." },
    );
  }
  try {
    return primaryLayout(superblock);
  } catch (cause) {
    if (!(cause instanceof ReplicaError)) throw cause;
    throw dataError(
      `Cannot use the primary ${disk.name}: its superblock is impossible: ${messageOf(cause)}`,
      { cause },
    );
  }
}

async function readFlushLog(disk: Disk, layout: PrimaryLayout, uuid: string) {
  const pages = await readFlushLogPages(disk, layout);
  const slots = decodeFlushLog(pages);
  const damagedSlots = slots.flatMap((slot, i) =>
    slot.kind === "damaged" || slot.kind === "unsupported" ? [i] : []
  );
  const history = flushHistory(slots, uuid);
  const next = flushLogSlot((history.at(-1)?.sequence ?? 0) + 1);
  const hiddenRecord = !damagedSlots.includes(next)
    ? null
    : pages[next] === null
    ? "unreadable" as const
    : "damaged" as const;
  return { history, damagedSlots, hiddenRecord };
}

/** The flush log as it lies on the disk; null for a slot that can't be read. */
export async function readFlushLogPages(
  disk: Disk,
  layout: PrimaryLayout,
): Promise<(Uint8Array | null)[]> {
  const start = layout.flushLogOffsetBytes;
  try {
    return flushLogPages(await disk.read(start, FLUSH_LOG_BYTES));
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
  }
  const offsets = Array.from({ length: FLUSH_LOG_SLOTS }, (_, slot) => start + slot * PAGE_BYTES);
  return await readEach(disk, offsets);
}

/** A page from each place; null for those that can't be read; throws when none can. */
async function readEach(
  disk: Disk,
  offsets: readonly number[],
): Promise<(Uint8Array | null)[]> {
  const reads = await Promise.allSettled(offsets.map((offset) => disk.read(offset, PAGE_BYTES)));
  const failed = reads.filter((read) => read.status === "rejected");
  if (failed.length === offsets.length) throw failed[0].reason;
  return reads.map((read) => read.status === "fulfilled" ? read.value : null);
}
