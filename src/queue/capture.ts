// Putting the blocks that a request changed into the pool, or marking them stale when they can't go
// there: what stands ready for a tag, how many units it takes, and filling them. The handler decides
// when; this file knows the three forms, and where blocks go:
//
//   | capture mode | history | chunks | pool     | then                                              |
//   |--------------|---------|--------|----------|---------------------------------------------------|
//   | marking      | any     | any    | any      | mark                                              |
//   | capturing    | ended   | stale  | any      | mark: resync will take them                       |
//   | capturing    | ended   | fresh  | room     | pool                                              |
//   | capturing    | ended   | fresh  | full     | mark: resync goes on longer                       |
//   | capturing    | whole   | fresh  | room     | pool                                              |
//   | capturing    | whole   | fresh  | full     | mark, or wait where the operator wants history    |
//
// Invariant: what place() returns from with a result >= 0 is in the ring, or its chunks are stale and
// the history ends before it (shared/history.ts, rule 1).

import { isCapturing } from "../shared/capture_mode.ts";
import { History } from "../shared/history.ts";
import { StaleMap } from "../shared/stale_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { ENTRY_DATA, ENTRY_ZERO, Pool } from "../shared/pool.ts";

/** Blocks from `first` on stand in the tag's buffer. */
const FROM_BUFFER = 0;
/** All blocks are zeros. */
const AS_ZEROS = 1;
/** Zeros between a first and a last block of which one or both stand in the buffer. */
const ZEROS_WITH_EDGES = 2;

/** Edges of a zeroing: the head's block stands first in the buffer, the tail's one unit further. */
export const HEAD_EDGE = 1;
export const TAIL_EDGE = 2;

function edgeCount(edges: number): number {
  return ((edges & HEAD_EDGE) !== 0 ? 1 : 0) + ((edges & TAIL_EDGE) !== 0 ? 1 : 0);
}

export class Capture {
  readonly #words: Int32Array;
  readonly #pool: Pool;
  readonly #unitBytes: number;
  readonly #buffersOffset: number;
  readonly #strideBytes: number;
  readonly #history: History;
  readonly #stale: StaleMap;
  readonly #waitsForRoom: boolean;

  // Per tag: what stands ready. Blocks are doubles: a device may have more than 2^31 of them.
  readonly #form: Int32Array;
  readonly #edges: Int32Array;
  readonly #first: Float64Array;
  readonly #count: Float64Array;

  /** `waitsForRoom`: a full pool holds writes back, instead of leaving them to resync. */
  constructor(views: SharedViews, qid: number, waitsForRoom: boolean) {
    const { depth, unitBytes, tagStrideBytes, tagBuffersOffset } = views.layout;
    this.#words = views.words;
    this.#pool = new Pool(views);
    this.#unitBytes = unitBytes;
    this.#strideBytes = tagStrideBytes;
    this.#history = new History(views);
    this.#stale = new StaleMap(views);
    this.#waitsForRoom = waitsForRoom;
    this.#buffersOffset = tagBuffersOffset + qid * depth * tagStrideBytes;
    this.#form = new Int32Array(depth);
    this.#edges = new Int32Array(depth);
    this.#first = new Float64Array(depth);
    this.#count = new Float64Array(depth);
  }

  /** Blocks `first` to `first + count - 1` stand in the tag's buffer, or will. */
  fromBuffer(tag: number, first: number, count: number): void {
    this.#form[tag] = FROM_BUFFER;
    this.#first[tag] = first;
    this.#count[tag] = count;
  }

  /** These blocks are zeros but for `edges`, blocks that stand in the buffer, or will. */
  zeros(tag: number, first: number, count: number, edges: number): void {
    this.#form[tag] = edges === 0 ? AS_ZEROS : ZEROS_WITH_EDGES;
    this.#edges[tag] = edges;
    this.#first[tag] = first;
    this.#count[tag] = count;
  }

  /** One after the last block that stands ready for `tag`. */
  end(tag: number): number {
    return this.#first[tag] + this.#count[tag];
  }

  /** False: the pool does not want these blocks now. They are marked stale, nothing is to be read. */
  wants(first: number, count: number): boolean {
    if (this.#isOpenTo(first, count)) return true;
    this.#mark(first, count);
    return false;
  }

  /** The number of entries that were published; 0: the blocks are marked stale; -1: wait for room. */
  place(tag: number): number {
    const first = this.#first[tag];
    const count = this.#count[tag];
    if (this.#isOpenTo(first, count)) {
      if (this.#pool.reserve(this.#unitsOf(tag))) return this.#fill(tag);
      if (this.#waitsForRoom && this.#history.isWhole()) return -1;
    }
    this.#mark(first, count);
    return 0;
  }

  /** The blocks of `tag` can't be had now: they are marked stale. */
  leave(tag: number): void {
    this.#mark(this.#first[tag], this.#count[tag]);
  }

  #isOpenTo(first: number, count: number): boolean {
    if (!isCapturing(this.#words)) return false;
    return this.#history.isWhole() || !this.#stale.overlaps(first, count);
  }

  #mark(first: number, count: number): void {
    this.#stale.mark(first, count);
    this.#history.endAtHead();
  }

  /** Fills and publishes the units that were just reserved. */
  #fill(tag: number): number {
    const pool = this.#pool;
    const position = pool.reservedAt;
    const first = this.#first[tag];
    const count = this.#count[tag];
    switch (this.#form[tag]) {
      case FROM_BUFFER:
        pool.fill(position, this.#bufferOffset(tag), count * this.#unitBytes);
        pool.publish(position, ENTRY_DATA, first, count);
        return 1;
      case AS_ZEROS:
        pool.publish(position, ENTRY_ZERO, first, count);
        return 1;
      default:
        return this.#fillEdges(tag, position);
    }
  }

  #unitsOf(tag: number): number {
    switch (this.#form[tag]) {
      case FROM_BUFFER:
        return this.#count[tag];
      case AS_ZEROS:
        return 1;
      default:
        return 1 + edgeCount(this.#edges[tag]);
    }
  }

  /** Head block, zeros between, tail block. */
  #fillEdges(tag: number, position: number): number {
    const pool = this.#pool;
    const unit = this.#unitBytes;
    const edges = this.#edges[tag];
    const first = this.#first[tag];
    const count = this.#count[tag];
    let inner = first;
    let at = position;
    if ((edges & HEAD_EDGE) !== 0) {
      pool.fill(at, this.#bufferOffset(tag), unit);
      pool.publish(at, ENTRY_DATA, first, 1);
      at = pool.advance(at, 1);
      inner++;
    }
    pool.publish(at, ENTRY_ZERO, inner, count - edgeCount(edges));
    if ((edges & TAIL_EDGE) !== 0) {
      at = pool.advance(at, 1);
      pool.fill(at, this.#bufferOffset(tag) + unit, unit);
      pool.publish(at, ENTRY_DATA, first + count - 1, 1);
    }
    return 1 + edgeCount(edges);
  }

  #bufferOffset(tag: number): number {
    return this.#buffersOffset + tag * this.#strideBytes;
  }
}
