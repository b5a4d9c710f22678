// The memory pool: the bounded copy of every write that is not yet on the replica.
//
// A ring of units (one replica block each) that all queues fill and the replicator empties. A queue
// reserves units *after* its write to the primary succeeded and *before* it acknowledges it, with
// one compare-and-exchange of `poolHead`. So the position in the ring is at once the reserved space
// (R6) and the sequence number (R1): of two writes of which one was issued after the other was
// acknowledged, the later one has the later position, across all queues.
//
//   tail ........ drained ........ head ........ tail + capacity
//   |  in a commit  |  published or  |   free
//   |  under way    |  being copied  |
//
// States of an entry's first descriptor and who moves them:
//
//   | state     | set by     | meaning                                                       |
//   |-----------|------------|---------------------------------------------------------------|
//   | EMPTY     | replicator | free, or reserved and still being copied                      |
//   | DATA      | queue      | `units` blocks from `startBlock` on stand in the units        |
//   | ZERO      | queue      | blocks read as zeros from now on; takes one unit, no data     |
//
// Invariants:
// 1. 0 <= used <= capacity, where used = (head - tail) mod RANGE; RANGE is a multiple of the
//    capacity (so a slot is position mod capacity across the wrap) and at least twice it (so a full
//    ring differs from an empty one).
// 2. The replicator reads a unit only between publish (release store of the state) and release.
// 3. Every descriptor in [head, tail + capacity) is EMPTY: the replicator clears an entry's state
//    before it frees its units.
// 4. Entries are consumed in ring order without gaps: an entry that is not yet published stops
//    the replicator there, even if later ones are ready.
//
// Positions stay below 2^31, so that nothing here leaves small-integer arithmetic.

import { DESCRIPTOR_WORDS, type SharedViews, WORD } from "./layout.ts";
import { invariant } from "../base/assert.ts";

export const ENTRY_EMPTY = 0;
export const ENTRY_DATA = 1;
export const ENTRY_ZERO = 2;

const STATE = 0;
const COUNT = 1;
const BLOCK_LOW = 2;
const BLOCK_HIGH = 3;
const TWO_32 = 2 ** 32;

export class Pool {
  /** The position that the last successful reserve() gave. */
  reservedAt = 0;

  readonly capacityUnits: number;
  readonly unitBytes: number;
  readonly #range: number;
  readonly #words: Int32Array;
  readonly #descriptors: Int32Array;
  readonly #memory: Uint8Array<SharedArrayBuffer>;
  readonly #unitsOffset: number;

  constructor(views: SharedViews) {
    const { poolUnits, unitBytes, unitsOffset } = views.layout;
    this.capacityUnits = poolUnits;
    this.unitBytes = unitBytes;
    this.#range = poolUnits * Math.floor((2 ** 31 - 1) / poolUnits);
    this.#words = views.words;
    this.#descriptors = views.descriptors;
    this.#memory = views.memory;
    this.#unitsOffset = unitsOffset;
    invariant(this.#range >= 2 * poolUnits, "the pool has at most 2^30 units");
  }

  // ---- queues ----

  /** Reserves `units` units; false when the pool has no room for them. */
  reserve(units: number): boolean {
    const words = this.#words;
    for (;;) {
      const head = Atomics.load(words, WORD.poolHead);
      const used = this.distance(Atomics.load(words, WORD.poolTail), head);
      if (used + units > this.capacityUnits) {
        if (Atomics.load(words, WORD.poolHead) === head) return false;
        continue; // a head that is older than the tail tells nothing
      }
      const next = this.advance(head, units);
      if (Atomics.compareExchange(words, WORD.poolHead, head, next) === head) {
        this.reservedAt = head;
        return true;
      }
    }
  }

  /** Copies `lengthBytes` from `sourceOffset` of the shared memory into the units from `position` on. */
  fill(position: number, sourceOffset: number, lengthBytes: number): void {
    const slot = position % this.capacityUnits;
    const target = this.#unitsOffset + slot * this.unitBytes;
    const beforeWrap = (this.capacityUnits - slot) * this.unitBytes;
    if (lengthBytes <= beforeWrap) {
      this.#memory.copyWithin(target, sourceOffset, sourceOffset + lengthBytes);
      return;
    }
    const middle = sourceOffset + beforeWrap;
    this.#memory.copyWithin(target, sourceOffset, middle);
    this.#memory.copyWithin(this.#unitsOffset, middle, sourceOffset + lengthBytes);
  }

  /** The same from `bytes`, for who is no queue. */
  fillFrom(position: number, bytes: Uint8Array): void {
    const slot = position % this.capacityUnits;
    const beforeWrap = Math.min((this.capacityUnits - slot) * this.unitBytes, bytes.length);
    this.#memory.set(bytes.subarray(0, beforeWrap), this.#unitsOffset + slot * this.unitBytes);
    if (beforeWrap < bytes.length) {
      this.#memory.set(bytes.subarray(beforeWrap), this.#unitsOffset);
    }
  }

  /**
   * Hands the entry at `position` to the replicator. `state` is ENTRY_DATA with as many blocks as
   * units were reserved, or ENTRY_ZERO with any number of blocks and one unit.
   */
  publish(position: number, state: number, startBlock: number, blockCount: number): void {
    const descriptors = this.#descriptors;
    const at = (position % this.capacityUnits) * DESCRIPTOR_WORDS;
    const high = Math.floor(startBlock / TWO_32);
    descriptors[at + COUNT] = blockCount;
    descriptors[at + BLOCK_LOW] = (startBlock - high * TWO_32) | 0;
    descriptors[at + BLOCK_HIGH] = high;
    Atomics.store(descriptors, at + STATE, state);
  }

  // ---- replicator ----

  /** State of the entry that begins at `position`; ENTRY_EMPTY while it is not published. */
  stateAt(position: number): number {
    const at = (position % this.capacityUnits) * DESCRIPTOR_WORDS;
    return Atomics.load(this.#descriptors, at + STATE);
  }

  startBlockAt(position: number): number {
    const at = (position % this.capacityUnits) * DESCRIPTOR_WORDS;
    return (this.#descriptors[at + BLOCK_LOW] >>> 0) +
      this.#descriptors[at + BLOCK_HIGH] * TWO_32;
  }

  blockCountAt(position: number): number {
    return this.#descriptors[(position % this.capacityUnits) * DESCRIPTOR_WORDS + COUNT];
  }

  /** Offset in the shared memory of the unit at `position`. */
  unitOffset(position: number): number {
    return this.#unitsOffset + (position % this.capacityUnits) * this.unitBytes;
  }

  /** Marks the entry at `position` as consumed; its units stay taken until release(). */
  clear(position: number): void {
    const at = (position % this.capacityUnits) * DESCRIPTOR_WORDS;
    Atomics.store(this.#descriptors, at + STATE, ENTRY_EMPTY);
  }

  /** Frees every unit before `position`. All their entries must have been cleared. */
  release(position: number): void {
    Atomics.store(this.#words, WORD.poolTail, position);
  }

  // ---- both ----

  head(): number {
    return Atomics.load(this.#words, WORD.poolHead);
  }

  tail(): number {
    return Atomics.load(this.#words, WORD.poolTail);
  }

  usedUnits(): number {
    const tail = this.tail();
    return this.distance(tail, this.head());
  }

  /** The position `units` after `position`. */
  advance(position: number, units: number): number {
    const next = position + units;
    return next >= this.#range ? next - this.#range : next;
  }

  /** Units from position `from` to position `to`, going forwards. */
  distance(from: number, to: number): number {
    return to >= from ? to - from : to - from + this.#range;
  }
}
