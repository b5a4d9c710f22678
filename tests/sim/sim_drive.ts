// The primary as a drive: a volatile write cache that FLUSH and FUA empty, I/O that takes effect and
// completes at random times, and power cuts that keep any part of what was not flushed, sector by sector.
//
// The device's part is kept as a history of requests (history.ts); the metadata at the end as bytes.
// A daemon may write the metadata only: the device's bytes are the guest's (promise 6).

import { ReplicaError } from "../../src/base/errors.ts";
import { invariant } from "../../src/base/assert.ts";
import { SECTOR } from "../../src/base/units.ts";
import type { Disk } from "../../src/primary/disk.ts";
import type { Prng } from "../support/prng.ts";
import { Defects, type DriveTemper } from "./defects.ts";
import { type SimOp, Timeline } from "./history.ts";
import { UNIT_BYTES } from "./plan.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import { readStamps } from "./stamp.ts";
import { type Trace, violated } from "./trace.ts";

const EIO = 5;
/** What a failed read leaves in memory. */
const GARBAGE = 0xdb;

/** Sectors that an I/O changes, one by one, so that a cut can tear it. */
interface Change {
  readonly startSector: number;
  readonly sectors: number;
  apply(sector: number): void;
  /** Everything has been applied. */
  finish?(): void;
}

/** Somebody who has opened the drive. */
export interface Opening {
  heardLosses: number;
}

export interface Flush {
  readonly process: Process;
  readonly opening: Opening;
  /** The guest has asked for it, and hears how it ended. */
  readonly isGuests: boolean;
}

interface Io {
  readonly process: Process;
  /** What has not yet taken effect; null for reads and flushes. */
  change: Change | null;
}

export interface DriveOptions {
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly sizeBytes: number;
  readonly deviceSizeBytes: number;
  /** Mean latency; single ones vary from a tenth to fifty times that. */
  readonly latencyMs: number;
  /** One change of the device in so many fails half way; 0: none. */
  readonly failOneIn: number;
  /** How everything else fails. */
  readonly temper: DriveTemper;
}

export class SimDrive {
  readonly sizeBytes: number;
  readonly deviceSizeBytes: number;
  readonly bytes: Uint8Array;
  timeline: Timeline;
  readonly #options: DriveOptions;
  readonly #inFlight = new Set<Io>();
  /** Bytes of the metadata that a cut leaves, and what came on top of them per sector. */
  readonly #durable: Uint8Array;
  readonly #pending = new Map<number, { effect: number; bytes: Uint8Array }[]>();
  /** Failed flushes that have lost something, and the metadata that is lost. */
  #losses = 0;
  readonly #lostSectors = new Set<number>();
  #effects = 0;
  readonly defects: Defects;

  constructor(options: DriveOptions) {
    this.#options = options;
    this.sizeBytes = options.sizeBytes;
    this.deviceSizeBytes = options.deviceSizeBytes;
    this.bytes = new Uint8Array(options.sizeBytes);
    this.#durable = new Uint8Array(options.sizeBytes);
    this.timeline = new Timeline(new Int32Array(options.deviceSizeBytes / SECTOR));
    const sectorsPerBlock = UNIT_BYTES / SECTOR;
    this.defects = new Defects(options.temper, { ...options, sectorsPerBlock });
  }

  /** What lies on the device before anybody formats it. */
  preset(stamps: Int32Array): void {
    this.timeline = new Timeline(stamps);
    for (let sector = 0; sector < stamps.length; sector++) {
      this.bytes.set(this.timeline.bytesOf(sector), sector * SECTOR);
    }
  }

  /** Another drive with what this one holds now, all of it durable. */
  snapshot(changes: Pick<DriveOptions, "temper" | "failOneIn">): SimDrive {
    const copy = new SimDrive({ ...this.#options, ...changes });
    copy.bytes.set(this.bytes);
    copy.#durable.set(this.bytes);
    copy.timeline = new Timeline(this.stamps());
    return copy;
  }

  /** No I/O is on its way. */
  get idle(): boolean {
    return this.#inFlight.size === 0;
  }

  // ---- the guest's requests, through a queue ----

  /** `done` gets bytes, 0, or -errno. */
  read(
    io: { process: Process; offset: number; into: Uint8Array },
    done: (res: number) => void,
  ): void {
    const { process, offset, into } = io;
    this.#submit(process, null, () => {
      if (this.defects.readFails(process, offset / SECTOR, into.length / SECTOR)) {
        into.fill(GARBAGE);
        return -EIO;
      }
      into.set(this.bytes.subarray(offset, offset + into.length));
      return into.length;
    }, done);
  }

  change(
    io: { process: Process; op: SimOp; source: Uint8Array | null; durable: boolean },
    done: (res: number) => void,
  ): void {
    const { process, op, source, durable } = io;
    const effect = () => this.#effects;
    const change: Change = {
      startSector: op.startSector,
      sectors: op.sectors,
      apply: (sector) => {
        const at = sector * SECTOR;
        const from = (sector - op.startSector) * SECTOR;
        if (source === null) this.bytes.fill(0, at, at + SECTOR);
        else this.bytes.set(source.subarray(from, from + SECTOR), at);
        this.timeline.apply(sector, op, effect());
        this.defects.mend(sector);
      },
      finish: () => {
        if (!durable) return;
        for (let k = 0; k < op.sectors; k++) this.timeline.force(op.startSector + k, op);
      },
    };
    const { random, failOneIn } = this.#options;
    const fails = this.defects.faulty && failOneIn > 0 && random.oneIn(failOneIn);
    const length = op.kind === "write" ? op.sectors * SECTOR : 0;
    const doneSectors = fails ? random.below(op.sectors) : op.sectors;
    this.#submit(process, change, () => fails ? -EIO : length, done, doneSectors);
  }

  /** As somebody opens the drive: of each loss that comes every opening may hear once, as Linux has it. */
  open(): Opening {
    return { heardLosses: this.#losses };
  }

  flush({ process, opening, isGuests }: Flush, done: (res: number) => void): void {
    // Only what had taken effect when the flush was sent is sure to be covered by it.
    const sent = ++this.#effects;
    this.#submit(process, null, () => {
      const fails = this.defects.flushFails();
      if (fails && this.defects.flushLoses) this.#lose();
      if (this.#hears(fails, opening)) return -EIO;
      this.#flushed(sent);
      return 0;
    }, isGuests ? done : this.#noting(done));
  }

  /** Metadata; with `opening` it is flushed, too: on stable storage when it completes. */
  writeMetadata(
    io: { process: Process; offset: number; source: Uint8Array; opening: Opening | null },
    done: (res: number) => void,
  ): void {
    const { process, offset, source, opening } = io;
    if (offset < this.deviceSizeBytes || offset + source.length > this.sizeBytes) {
      violated(`promise 6: a daemon writes to the device at ${offset}`);
    }
    const startSector = offset / SECTOR;
    const sectors = source.length / SECTOR;
    const fails = this.defects.metadataWriteFails();
    const syncFails = opening !== null && !fails && this.defects.flushFails();
    this.#submit(
      process,
      {
        startSector,
        sectors,
        apply: (sector) => {
          const from = (sector - startSector) * SECTOR;
          const bytes = source.slice(from, from + SECTOR);
          this.bytes.set(bytes, sector * SECTOR);
          const pending = this.#pending.get(sector);
          if (pending === undefined) this.#pending.set(sector, [{ effect: this.#effects, bytes }]);
          else pending.push({ effect: this.#effects, bytes });
        },
        finish: () => {
          if (opening === null || syncFails) return;
          for (let k = 0; k < sectors; k++) {
            this.#settleSector(startSector + k, this.#effects + 1);
          }
        },
      },
      () => {
        if (syncFails && this.defects.flushLoses) this.#lose();
        return fails || opening !== null && this.#hears(syncFails, opening) ? -EIO : source.length;
      },
      opening === null ? done : this.#noting(done),
      // It may even be there as a whole, and not be known to be.
      fails ? this.#options.random.below(sectors + 1) : sectors,
    );
  }

  /** The drive as `process` opens it for its metadata. */
  disk(process: Process, opening = this.open()): Disk {
    return {
      name: "sim-drive",
      sizeBytes: this.sizeBytes,
      read: async (offset, length) => {
        const into = new Uint8Array(length);
        await settled("read", (done) => this.read({ process, offset, into }, done));
        return into;
      },
      write: (offset, bytes) =>
        settled("write", (done) => {
          const source = bytes.slice();
          this.writeMetadata({ process, offset, source, opening: null }, done);
        }),
      flush: () =>
        settled("flush", (done) => this.flush({ process, opening, isGuests: false }, done)),
    };
  }

  /** What lies on the drive, at once: for the oracle. */
  still(): Disk {
    return {
      name: "sim-drive",
      sizeBytes: this.sizeBytes,
      read: (offset, length) => Promise.resolve(this.bytes.slice(offset, offset + length)),
      write: () => violated("an oracle does not write"),
      flush: () => Promise.resolve(),
    };
  }

  readInto(process: Process, offset: number, into: Uint8Array): Promise<void> {
    return settled("read", (done) => this.read({ process, offset, into }, done));
  }

  // ---- death ----

  /** `process` was killed: what it had sent takes effect now, wholly or in part, or never. */
  abandon(process: Process): void {
    for (const io of this.#inFlight) {
      if (io.process !== process) continue;
      this.#inFlight.delete(io);
      if (io.change !== null) this.#tear(io.change);
    }
  }

  /** Nobody uses the drive: its cache forgets what failed flushes have lost. */
  forgetLost(): void {
    for (const sector of this.#lostSectors) {
      if (this.#pending.has(sector)) continue;
      const at = sector * SECTOR;
      this.bytes.set(this.#durable.subarray(at, at + SECTOR), at);
    }
    this.#lostSectors.clear();
    const left = this.timeline.withoutLost();
    if (left === null) return;
    this.#options.trace.add("lost by a flush");
    this.preset(left);
  }

  /** The power goes: unflushed sectors survive as `random` will have it. A new timeline begins. */
  cutPower(): void {
    const { random, trace } = this.#options;
    invariant(this.#inFlight.size === 0, "nobody uses a drive without power");
    // Nothing, everything, or any version of any sector.
    const fate = random.below(4);
    const choose = (least: number, most: number) =>
      fate === 0 ? least : fate === 1 ? most : least + random.below(most - least + 1);
    const survivors = this.timeline.cut(choose);
    for (const [sector, versions] of this.#pending) {
      const version = choose(0, versions.length);
      if (version > 0) this.#durable.set(versions[version - 1].bytes, sector * SECTOR);
    }
    this.#pending.clear();
    this.bytes.set(this.#durable);
    this.preset(survivors);
    trace.add("power cut", fate);
  }

  /** The stamps that the device's bytes show. */
  stamps(): Int32Array {
    return readStamps(this.bytes.subarray(0, this.deviceSizeBytes), "the primary");
  }

  #submit(
    process: Process,
    change: Change | null,
    effect: () => number,
    done: (res: number) => void,
    /** So many of the change's sectors get done. */
    doneSectors = 0,
  ): void {
    const { scheduler } = this.#options;
    if (process.past !== null) return;
    const io: Io = { process, change };
    this.#inFlight.add(io);
    const settles = { settles: false };
    scheduler.after(this.#latencyMs(), process, () => {
      if (process.past !== null) return;
      if (change !== null) this.#apply(io, doneSectors);
      const res = effect();
      scheduler.after(this.#latencyMs() / 4, process, () => {
        this.#inFlight.delete(io);
        if (process.past !== null) return;
        if (res < 0) this.defects.reported++;
        done(res);
      });
    }, settles);
  }

  #apply(io: Io, sectors: number): void {
    const { change } = io;
    if (change === null) return;
    io.change = null;
    this.#effects++;
    for (let k = 0; k < sectors; k++) change.apply(change.startSector + k);
    if (sectors === change.sectors) change.finish?.();
  }

  #tear(change: Change): void {
    const { random } = this.#options;
    const fate = random.below(3);
    if (fate === 0) return;
    this.#effects++;
    for (let k = 0; k < change.sectors; k++) {
      if (fate === 1 || random.oneIn(2)) change.apply(change.startSector + k);
    }
  }

  /** Whether a flush fails, itself or because of what another one has lost before. */
  #hears(fails: boolean, opening: Opening): boolean {
    const heard = fails || this.defects.lossIsTold && opening.heardLosses < this.#losses;
    if (heard) opening.heardLosses = this.#losses;
    return heard;
  }

  /** The program hears of a flush that its guest did not ask for. */
  #noting(done: (res: number) => void): (res: number) => void {
    return (res) => {
      if (res < 0) this.defects.untold = true;
      done(res);
    };
  }

  #lose(): void {
    this.#losses++;
    this.timeline.lose();
    for (const sector of this.#pending.keys()) this.#lostSectors.add(sector);
    this.#pending.clear();
  }

  #flushed(before: number): void {
    this.timeline.flush(before);
    for (const sector of [...this.#pending.keys()]) this.#settleSector(sector, before);
  }

  #settleSector(sector: number, before: number): void {
    const versions = this.#pending.get(sector);
    if (versions === undefined) return;
    let kept = 0;
    while (kept < versions.length && versions[kept].effect < before) kept++;
    if (kept === 0) return;
    this.#durable.set(versions[kept - 1].bytes, sector * SECTOR);
    versions.splice(0, kept);
    if (versions.length === 0) this.#pending.delete(sector);
  }

  #latencyMs(): number {
    const { random, latencyMs } = this.#options;
    const slow = random.oneIn(40) ? 50 : 1;
    return latencyMs * slow * (0.1 + 1.8 * random.below(1000) / 1000);
  }
}

async function settled(verb: string, start: (done: (res: number) => void) => void): Promise<void> {
  const res = await new Promise<number>((resolve) => start(resolve));
  if (res >= 0) return;
  throw new ReplicaError("kernel", `Cannot ${verb} sim-drive: EIO`, { context: { errno: "EIO" } });
}
