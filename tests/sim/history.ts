// The write history of a device as the guest knows it, and the judgement whether an image is one of its
// prefixes (promise 3).
//
// Time is a count of issues and answers. For every sector the history holds the requests that changed
// it on the primary, in the order in which they did. An image is a prefix if there is a time T such
// that every request that was answered before T is in it, and none that was issued after T. A
// request that was in flight at T may be in it wholly, in part or not at all: so does a power cut.
//
// A power cut that loses writes which nobody flushed begins a new timeline: the survivors are its base.
// Checkpoints that were made before belong to the timeline of their time.

import { sectorBytes } from "./stamp.ts";
import { violated } from "./trace.ts";

export interface SimOp {
  /** Also its stamp. */
  readonly id: number;
  readonly kind: "write" | "zero";
  readonly startSector: number;
  readonly sectors: number;
  readonly issuedAt: number;
  /** When success was reported; Infinity: not (yet). */
  answeredAt: number;
}

/** What one sector has been through since the timeline began; version 0 is its base. */
interface SectorPast {
  readonly ops: SimOp[];
  /** Order of effects on the whole drive. */
  readonly effects: number[];
  /** The version that the last checkpoint shows at least: later ones show no earlier one. */
  floor: number;
  /** When the latest of the versions up to it was issued. */
  floorAfter: number;
}

/** A version of a sector that looks like the image. */
interface Candidate {
  readonly sector: number;
  readonly versions: number[];
  /** The image holds something issued then. */
  readonly after: number[];
  /** The image lacks something answered then. */
  readonly before: number[];
}

/** What a checkpoint may lack all the same: blocks that its writer could not read. */
export interface Excuse {
  /** Whether `sector` may show anything that it ever held. */
  mayLack(sector: number): boolean;
}

export const NO_EXCUSE: Excuse = { mayLack: () => false };

export interface Verdict {
  /** The least T that the image can have. */
  readonly time: number;
  /** Excused sectors that do not show what the device held then. */
  readonly lacking: readonly number[];
}

function newPast(): SectorPast {
  return { ops: [], effects: [], floor: 0, floorAfter: 0 };
}

export class Timeline {
  /** The stamp of each sector at its beginning. */
  readonly base: Int32Array;
  readonly #pasts: (SectorPast | null)[];
  /** The version of each sector that survives a power cut for certain. */
  readonly #durable: Int32Array;
  /** The version that must survive, because the guest was told so. */
  readonly #promised: Int32Array;
  /** Sectors whose newest version may be lost. */
  readonly #volatile = new Set<number>();
  /** Versions up to which a failed flush has lost what was volatile: no later flush keeps them. */
  readonly #lost = new Map<number, number>();
  /** The least T of the last checkpoint that was checked. */
  #publishedT = 0;

  constructor(base: Int32Array) {
    this.base = base;
    this.#pasts = new Array(base.length).fill(null);
    this.#durable = new Int32Array(base.length);
    this.#promised = new Int32Array(base.length);
  }

  /** `op` has changed `sector` on the drive. */
  apply(sector: number, op: SimOp, effect: number): void {
    const past = this.#pasts[sector] ??= newPast();
    past.ops.push(op);
    past.effects.push(effect);
    this.#volatile.add(sector);
  }

  /** The drive has made durable what had taken effect before `effect`. */
  flush(effect: number): void {
    for (const sector of this.#volatile) {
      const { effects } = this.#past(sector);
      let version = effects.length;
      while (version > 0 && effects[version - 1] >= effect) version--;
      if (version > this.#lostUpTo(sector)) this.#settle(sector, version);
    }
  }

  /** A flush failed, and what is volatile will not be kept by another one. */
  lose(): void {
    for (const sector of this.#volatile) this.#lost.set(sector, this.#past(sector).ops.length);
    this.#volatile.clear();
  }

  /** The stamps of what the drive will show once its cache has forgotten what was lost; null: the same. */
  withoutLost(): Int32Array | null {
    const stamps = this.now();
    let differs = false;
    for (const [sector, version] of this.#lost) {
      if (version < this.#past(sector).ops.length || version <= this.#durable[sector]) continue;
      stamps[sector] = this.#stamp(sector, this.#durable[sector]);
      differs = true;
    }
    return differs ? stamps : null;
  }

  /** The drive has made durable what `op` wrote to `sector`. */
  force(sector: number, op: SimOp): void {
    this.#settle(sector, this.#past(sector).ops.lastIndexOf(op) + 1);
  }

  /** A guest's FLUSH, issued at `issuedAt`, was answered: what was answered before must survive. */
  promiseFlush(issuedAt: number): void {
    for (const [sector, past] of this.#pasts.entries()) {
      if (past === null || this.#promised[sector] === past.ops.length) continue;
      let version = past.ops.length;
      while (version > 0 && past.ops[version - 1].answeredAt > issuedAt) version--;
      this.#promised[sector] = Math.max(this.#promised[sector], version);
    }
  }

  /** A guest's FUA write was answered. */
  promiseWrite(op: SimOp): void {
    for (let sector = op.startSector; sector < op.startSector + op.sectors; sector++) {
      const version = this.#past(sector).ops.lastIndexOf(op) + 1;
      this.#promised[sector] = Math.max(this.#promised[sector], version);
    }
  }

  /**
   * The power goes: `choose` says for a sector which of the versions from its first to its second
   * parameter survives. Gives the stamps of the survivors; fails if a promise is broken.
   */
  cut(choose: (least: number, most: number) => number): Int32Array {
    const survivors = this.base.slice();
    for (const [sector, past] of this.#pasts.entries()) {
      if (past === null) continue;
      const durable = this.#durable[sector];
      const version = choose(durable, past.ops.length);
      survivors[sector] = this.#stamp(sector, version);
      // Of what a failed flush has lost a drive that says nothing afterwards keeps no promise.
      if (durable < this.#promised[sector] && this.#promised[sector] > this.#lostUpTo(sector)) {
        const op = past.ops[this.#promised[sector] - 1];
        violated(`promise 2: sector ${sector} may lose request ${op.id}, which was flushed`);
      }
    }
    return survivors;
  }

  /** How often the sector was zeroed. */
  zeroings(sector: number): number {
    return this.#past(sector).ops.filter(({ kind }) => kind === "zero").length;
  }

  /** The stamps that the primary shows now. */
  now(): Int32Array {
    return this.base.map((_, sector) => this.#stamp(sector, this.#pasts[sector]?.ops.length ?? 0));
  }

  /** The primary's bytes at a sector's newest version. */
  bytesOf(sector: number): Uint8Array {
    return sectorBytes(this.#stamp(sector, this.#pasts[sector]?.ops.length ?? 0), sector);
  }

  /**
   * Fails unless the image with these stamps is a prefix, but for what is excused, and no earlier one than
   * the last that was checked.
   */
  check(stamps: Int32Array, what: string, excuse = NO_EXCUSE): Verdict {
    const candidates: Candidate[] = [];
    const lacking = new Set<number>();
    const zeros: number[] = [];
    let time = this.#publishedT;
    for (let sector = 0; sector < stamps.length; sector++) {
      if (excuse.mayLack(sector)) {
        // Zeros may be those of long ago: they say nothing of the time.
        if (stamps[sector] === 0) {
          zeros.push(sector);
          continue;
        }
        if (!this.#hasShown(sector, stamps[sector])) {
          lacking.add(sector);
          continue;
        }
      }
      const candidate = this.#candidate(sector, stamps[sector], what);
      if (candidate !== null) candidates.push(candidate);
    }
    for (let moved = true; moved;) {
      moved = false;
      for (const { sector, after, before } of candidates) {
        if (lacking.has(sector)) continue;
        const version = before.findIndex((answered) => answered > time);
        if (version < 0) {
          if (excuse.mayLack(sector)) {
            // Older than the rest; what it has raised the time to was in the ring before that.
            lacking.add(sector);
            continue;
          }
          violated(
            `promise 3: ${what} is no prefix: it holds a request issued at ${time}, but sector ` +
              `${sector} shows ${stamps[sector]}, overwritten by a request answered at ` +
              `${before[before.length - 1]}`,
          );
        }
        if (after[version] > time) {
          time = after[version];
          moved = true;
        }
      }
    }
    for (const candidate of candidates) {
      if (!lacking.has(candidate.sector)) this.#raiseFloor(candidate, time);
    }
    for (const sector of zeros) {
      if (!this.#mayBeZeroFrom(sector, time)) lacking.add(sector);
    }
    this.#publishedT = time;
    return { time, lacking: [...lacking] };
  }

  /** Whether the sector has looked like this since the last checkpoint. */
  #hasShown(sector: number, stamp: number): boolean {
    const past = this.#pasts[sector];
    if (past === null) return stamp === this.base[sector];
    for (let version = past.floor; version <= past.ops.length; version++) {
      if (this.#stamp(sector, version) === stamp) return true;
    }
    return false;
  }

  /** Whether a sector of an image of time `time`, or of some time after, may be zeros. */
  #mayBeZeroFrom(sector: number, time: number): boolean {
    const ops = this.#past(sector).ops;
    for (let version = ops.length; version > 0; version--) {
      if (this.#stamp(sector, version) === 0) return true;
      if (ops[version - 1].answeredAt <= time) return false;
    }
    return this.base[sector] === 0;
  }

  #raiseFloor({ sector, versions, after, before }: Candidate, time: number): void {
    const least = before.findIndex((answered) => answered > time);
    const past = this.#past(sector);
    past.floor = versions[least];
    past.floorAfter = after[least];
  }

  /** Null for a sector that never changed and looks like it. */
  #candidate(sector: number, stamp: number, what: string): Candidate | null {
    const past = this.#pasts[sector];
    if (past === null) {
      if (stamp === this.base[sector]) return null;
      violated(`${what}: sector ${sector} shows ${stamp}, but nobody wrote to it`);
    }
    const { ops, floor } = past;
    const candidate: Candidate = { sector, versions: [], after: [], before: [] };
    let issued = past.floorAfter;
    for (let version = floor; version <= ops.length; version++) {
      if (version > floor) issued = Math.max(issued, ops[version - 1].issuedAt);
      if (this.#stamp(sector, version) !== stamp) continue;
      candidate.versions.push(version);
      candidate.after.push(issued);
    }
    if (candidate.versions.length === 0) {
      violated(
        `promise 3: ${what} is no prefix: sector ${sector} shows ${stamp}, which it does not hold ` +
          `in this timeline since the last checkpoint`,
      );
    }
    let answered = Infinity;
    let version = ops.length;
    for (const wanted of candidate.versions.toReversed()) {
      for (; version > wanted; version--) {
        answered = Math.min(answered, ops[version - 1].answeredAt);
      }
      candidate.before.unshift(answered);
    }
    return candidate;
  }

  #lostUpTo(sector: number): number {
    return this.#lost.get(sector) ?? 0;
  }

  #stamp(sector: number, version: number): number {
    if (version === 0) return this.base[sector];
    const op = this.#past(sector).ops[version - 1];
    return op.kind === "zero" ? 0 : op.id;
  }

  #past(sector: number): SectorPast {
    return this.#pasts[sector] ?? newPast();
  }

  #settle(sector: number, version: number): void {
    if (version > this.#durable[sector]) this.#durable[sector] = version;
    if (this.#durable[sector] === this.#past(sector).ops.length) this.#volatile.delete(sector);
  }
}
