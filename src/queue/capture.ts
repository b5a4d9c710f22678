// Putting the blocks that a request changed into the pool: what stands ready for a tag, how many
// units it takes, and filling them. The handler decides when; this file knows the three forms.
//
// Invariant: reserve() and the fill() that follows it see the same answer to "is anything captured
// at all", so units that were reserved are always published.

import { isCapturing } from "../shared/capture_mode.ts";
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
  /** What the last reserve() found. */
  #captures = true;

  // Per tag: what stands ready. Blocks are doubles: a device may have more than 2^31 of them.
  readonly #form: Int32Array;
  readonly #edges: Int32Array;
  readonly #first: Float64Array;
  readonly #count: Float64Array;

  constructor(views: SharedViews, qid: number) {
    const { depth, unitBytes, tagStrideBytes, tagBuffersOffset } = views.layout;
    this.#words = views.words;
    this.#pool = new Pool(views);
    this.#unitBytes = unitBytes;
    this.#strideBytes = tagStrideBytes;
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

  /** True when the pool has given its units, and also when nothing is captured any more. */
  reserve(tag: number): boolean {
    this.#captures = isCapturing(this.#words);
    return !this.#captures || this.#pool.reserve(this.#unitsOf(tag));
  }

  /** Fills and publishes the units that reserve() just got; gives the number of entries. */
  fill(tag: number): number {
    if (!this.#captures) return 0;
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
