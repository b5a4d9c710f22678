// Judges every checkpoint as it is published, and all of them again at the end, with the real reader on
// a store that answers at once.

import { SECTOR } from "../../src/base/units.ts";
import { decodeInode, INODE_KEY, InodeRecord } from "../../src/format/inode.ts";
import { segmentKey } from "../../src/format/segment.ts";
import { PrimaryMetadata } from "../../src/primary/metadata.ts";
import { readDirtyMap, readKeptMap } from "../../src/primary/dirty_map.ts";
import { regionRange } from "../../src/format/primary_layout.ts";
import { REGIONS_PER_PAGE, type StagedTag, testRegion } from "../../src/format/region_map.ts";
import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { MemoryStore } from "../support/memory_store.ts";
import type { Process } from "./scheduler.ts";
import type { SimDrive } from "./sim_drive.ts";
import type { SimObject } from "./sim_object.ts";
import type { SimService } from "./sim_store.ts";
import { readStamps } from "./stamp.ts";
import { type Trace, violated } from "./trace.ts";

export interface OracleOptions {
  readonly deviceSizeBytes: number;
  readonly trace: Trace;
  /** The drive of a process's machine. */
  driveOf(process: Process): SimDrive;
}

/** Checkpoints that are read again at the end. */
const JUDGED_AGAIN = 40;

export class Oracle {
  readonly #options: OracleOptions;
  readonly #deviceSizeBytes: number;
  readonly #trace: Trace;
  #published: SimObject[] = [];
  /** A hash of each published checkpoint's image. */
  readonly #images = new Map<number, number>();
  #lastCno = 0;
  /** From which drive each checkpoint was published. */
  readonly #writers = new Map<number, SimDrive>();
  /** Regions that were found staged after a crash. */
  stagedRegions = 0;
  /** Sectors that checkpoints lacked because they could not be read. */
  lackingSectors = 0;
  /** The daemon that holds the replica. */
  #holder = 0;
  #contested: SimDrive | null = null;

  constructor(options: OracleOptions) {
    this.#options = options;
    this.#deviceSizeBytes = options.deviceSizeBytes;
    this.#trace = options.trace;
  }

  get checkpoints(): number {
    return this.#images.size;
  }

  get lastCno(): number {
    return this.#lastCno;
  }

  /** A daemon has attached: whoever came before must not publish any more. */
  attached(process: Process): void {
    this.#holder = process.pid;
    if (this.#options.driveOf(process) === this.#contested) this.#contested = null;
  }

  /** From now on, until its daemon attaches again, another primary may do away with what `drive` has staged. */
  contested(drive: SimDrive): void {
    this.#contested = drive;
  }

  /** An object was stored; judged by the next judge(). */
  onPut(key: string, object: SimObject): void {
    if (key !== INODE_KEY) return;
    const { pid } = object.process;
    if (pid < this.#holder) {
      violated(`promise 7: daemon ${pid} publishes after daemon ${this.#holder} has attached`);
    }
    this.#published.push(object);
  }

  /** Something waits to be judged. */
  get pending(): boolean {
    return this.#published.length > 0;
  }

  /** Judges what was published since the last call. */
  async judge(service: SimService): Promise<void> {
    const published = this.#published;
    this.#published = [];
    for (const { bytes } of published) {
      const { lastCno } = decodeInode(bytes.subarray(0, InodeRecord.size), INODE_KEY);
      if (lastCno === this.#lastCno) continue;
      if (lastCno < this.#lastCno) {
        violated(`promise 7: checkpoint ${lastCno} is published after ${this.#lastCno}`);
      }
      this.#lastCno = lastCno;
      await this.#judge(service, lastCno);
    }
  }

  /** Every checkpoint (where there are very many: one in some) still opens and is what it was. */
  async judgeAll(service: SimService): Promise<void> {
    const step = Math.ceil(this.#images.size / JUDGED_AGAIN);
    for (const [i, [cno, hash]] of [...this.#images].entries()) {
      if (i % step !== 0) continue;
      const image = await this.#image(service, cno);
      if (hashOf(image) !== hash) violated(`promise 3: checkpoint ${cno} has changed`);
    }
  }

  /** The newest checkpoint is exactly what the primary holds. */
  async judgeEqual(service: SimService, drive: SimDrive, when: string): Promise<void> {
    const device = wordsOf(drive.bytes.subarray(0, drive.deviceSizeBytes));
    const image = await this.#imageAt(service, this.#lastCno);
    const words = wordsOf(image);
    for (let at = 0; at < device.length; at++) {
      if (device[at] === words[at]) continue;
      const sector = Math.floor(at * 4 / SECTOR);
      const shown = readStamps(image, "the replica")[sector];
      violated(
        `promise 5: ${when} sector ${sector} is ${shown} on the replica and ` +
          `${drive.stamps()[sector]} on the primary`,
      );
    }
  }

  /**
   * After a crash or a stop that failed: wherever the primary differs from the newest checkpoint, its map says so - unless
   * its superblock already asks for everything. What the staged map names is in the staged segments.
   *
   * Where another primary has published meanwhile, and this one has not recorded that, no start takes the
   * two for equal: then its map tells what differs from the last checkpoint of its own.
   */
  async judgeDivergence(service: SimService, drive: SimDrive): Promise<void> {
    const disk = drive.still();
    const metadata = await PrimaryMetadata.load(disk);
    const { superblock, layout } = metadata;
    const isForeign = this.#lastCno > 0 && this.#writers.get(this.#lastCno) !== drive &&
      metadata.lastFlush?.cno !== this.#lastCno;
    const isContested = drive === this.#contested;
    const baseCno = isForeign ? this.#lastOf(drive) : this.#lastCno;
    const { state, uuid } = superblock;
    const isWhole = state !== "active" && state !== "clean";
    const dirty = await readDirtyMap(disk, layout, uuid);
    const staged = await readKeptMap(disk, layout, { uuid, map: "staged" });
    const tags = staged.pages.flatMap(({ staged }) =>
      staged?.baseCno === baseCno && !isContested ? [staged] : []
    );
    const chain = tags.toSorted((a, b) => a.segmentId - b.segmentId).at(-1);
    const head = readStamps(await this.#imageAt(service, baseCno), "the replica");
    const tail = chain && readStamps(
      await this.#imageOf(stagedStore(service, chain), { cno: 0, what: "what is staged" }),
      "what is staged",
    );
    const held = drive.stamps();
    for (let region = 0; region < layout.regionCount; region++) {
      const page = Math.floor(region / REGIONS_PER_PAGE);
      const at = region % REGIONS_PER_PAGE;
      if (testRegion(dirty.pages[page].bits, at)) continue;
      const { staged: tag, bits } = staged.pages[page];
      // What it had staged the next start gives up, and makes dirty, whatever became of the segments.
      if (isContested && tag !== null && testRegion(bits, at)) continue;
      const counts = tag?.baseCno === baseCno && (!isWhole || tag.isWhole);
      const isStaged = counts && testRegion(bits, at);
      if (isStaged) this.stagedRegions++;
      else if (isWhole) continue;
      const shown = isStaged && tail ? tail : head;
      const [start, length] = regionRange(layout, region);
      const end = (start + length) / SECTOR;
      for (let sector = start / SECTOR; sector < end; sector++) {
        if (shown[sector] === held[sector]) continue;
        violated(
          `promise 5: region ${region} counts as ${
            isStaged ? "staged" : "clean"
          } (${state}), but ` +
            `sector ${sector} is ${shown[sector]} there and ${held[sector]} on the primary`,
        );
      }
    }
  }

  /** Nothing but the guest has changed the primary. */
  judgePrimary(drive: SimDrive): void {
    const held = drive.stamps();
    const meant = drive.timeline.now();
    for (let sector = 0; sector < held.length; sector++) {
      if (held[sector] === meant[sector]) continue;
      violated(`promise 6: sector ${sector} of the primary became ${held[sector]} by itself`);
    }
  }

  /** The last checkpoint that was published from `drive`; 0: none. */
  #lastOf(drive: SimDrive): number {
    return Math.max(0, ...[...this.#writers].flatMap(([cno, own]) => own === drive ? [cno] : []));
  }

  #imageAt(service: SimService, cno: number): Promise<Uint8Array> | Uint8Array {
    return cno > 0 ? this.#image(service, cno) : new Uint8Array(this.#deviceSizeBytes);
  }

  async #judge(service: SimService, cno: number): Promise<void> {
    const segment = service.objects.get(segmentKey(cno));
    if (segment === undefined) violated(`checkpoint ${cno} was published without its segment`);
    const image = await this.#image(service, cno);
    const what = `checkpoint ${cno}`;
    const { timeline, process } = segment;
    const drive = this.#options.driveOf(process);
    const { defects } = drive;
    this.#writers.set(cno, drive);
    const { time, lacking } = timeline.check(readStamps(image, what), what, {
      mayLack: (sector) => defects.mayLack(process, sector),
    });
    if (lacking.length > 0) await this.#judgeLacking(drive, lacking, what);
    const hash = hashOf(image);
    this.#images.set(cno, hash);
    this.#trace.add("checkpoint", cno, time, hash);
  }

  /** What a checkpoint lacks because nobody could read it: the primary's map names it for certain. */
  async #judgeLacking(
    drive: SimDrive,
    sectors: readonly number[],
    what: string,
  ): Promise<void> {
    const disk = drive.still();
    const { superblock: { uuid }, layout } = await PrimaryMetadata.load(disk);
    const { pages } = await readDirtyMap(disk, layout, uuid);
    for (const sector of sectors) {
      this.lackingSectors++;
      const region = Math.floor(sector * SECTOR / layout.regionBytes);
      const { bits } = pages[Math.floor(region / REGIONS_PER_PAGE)];
      if (testRegion(bits, region % REGIONS_PER_PAGE)) continue;
      violated(
        `promise 5: ${what} lacks sector ${sector}, which could not be read, and region ${region} ` +
          "does not count as dirty",
      );
    }
  }

  #image(service: SimService, cno: number): Promise<Uint8Array> {
    const store = new MemoryStore({ objects: service.objects });
    return this.#imageOf(store, { cno, what: `checkpoint ${cno}` });
  }

  async #imageOf(
    store: MemoryStore,
    { cno, what }: { cno: number; what: string },
  ): Promise<Uint8Array> {
    const image = new Uint8Array(this.#deviceSizeBytes);
    try {
      const reader = await HyperfileReader.open(store, { cno });
      await reader.read(0, image);
    } catch (error) {
      violated(`promise 3: ${what} cannot be read: ${error}`);
    }
    return image;
  }
}

/** The store as it would look with what is staged published. */
function stagedStore({ objects }: SimService, { segmentId }: StagedTag): MemoryStore {
  const segment = objects.get(segmentKey(segmentId));
  const head = objects.get(INODE_KEY);
  if (segment === undefined || head === undefined) {
    violated(`segment ${segmentId} is staged no more`);
  }
  const inode = decodeInode(segment.bytes.slice(-InodeRecord.size), "what is staged");
  // No checkpoint of its own: its segment does not carry this inode.
  const bytes = InodeRecord.toBytes({ ...inode, lastCno: segmentId, lastSeq: segmentId + 1 });
  return new MemoryStore({ objects: new Map([...objects, [INODE_KEY, { ...head, bytes }]]) });
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
}

function hashOf(bytes: Uint8Array): number {
  const words = wordsOf(bytes);
  let hash = 0;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i], 0x01000193);
  return hash;
}
