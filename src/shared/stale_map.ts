// Which parts of the device the ring never got: one bit per chunk, and their number. A chunk is one
// replica block; on devices of more than 2^27 blocks (512 GiB of 4 KiB) a power of two, up to 64 KiB.
//
// A chunk is stale from when a write to it was not captured (the pool was full, replication paused,
// the device just started with dirty regions) until resync has put its bytes into the ring. The map is
// memory only: after a crash the write-intent map on the primary says which regions to look at, and
// their chunks are stale.
//
// Invariants:
// 1. A queue marks under the interval lock of the blocks that it wrote, before it acknowledges.
// 2. Resync clears bits under the interval lock of the whole chunks, before it reads them. So a write
//    is either in what is read, or marks after the bit was cleared.
// 3. The count is raised after bits were set and lowered only when the copy stands in the ring. So a
//    count of zero means that every acknowledged write is in the ring.
//    (Between a queue's bit and its raising of the count the write is not acknowledged yet.)

import { bitRun, countBits, lowestBit } from "../base/bits.ts";
import { alignUp } from "../base/units.ts";
import { type SharedViews, WORD } from "./layout.ts";

const BITS = 32;

export class StaleMap {
  readonly chunkBlocks: number;
  readonly chunkCount: number;
  readonly #words: Int32Array;
  readonly #bits: Int32Array;
  readonly #blockCount: number;

  constructor(views: SharedViews) {
    const { chunkBlocks, deviceBlocks } = views.layout;
    this.chunkBlocks = chunkBlocks;
    this.chunkCount = alignUp(deviceBlocks, chunkBlocks) / chunkBlocks;
    this.#words = views.words;
    this.#bits = views.stale;
    this.#blockCount = deviceBlocks;
  }

  /** Stale chunks, and those whose copy is not in the ring yet. */
  count(): number {
    return Atomics.load(this.#words, WORD.staleChunks);
  }

  /** The ring does not get what was written to these blocks. */
  mark(startBlock: number, blockCount: number): void {
    const first = this.#chunkOf(startBlock);
    const end = this.#chunkOf(startBlock + blockCount - 1) + 1;
    let added = 0;
    // Counted before it is seen: who finds the chunk stale already may acknowledge on that.
    Atomics.add(this.#words, WORD.staleChunks, end - first);
    for (let chunk = first; chunk < end;) {
      const until = Math.min(end, chunk - (chunk % BITS) + BITS);
      const mask = bitRun(chunk % BITS, until - chunk);
      const before = Atomics.or(this.#bits, Math.floor(chunk / BITS), mask);
      added += countBits(mask & ~before);
      chunk = until;
    }
    const counted = end - first - added;
    if (counted > 0) Atomics.sub(this.#words, WORD.staleChunks, counted);
  }

  /** Whether any of these blocks lies in a stale chunk. */
  overlaps(startBlock: number, blockCount: number): boolean {
    const end = this.#chunkOf(startBlock + blockCount - 1) + 1;
    for (let chunk = this.#chunkOf(startBlock); chunk < end;) {
      const until = Math.min(end, chunk - (chunk % BITS) + BITS);
      const mask = bitRun(chunk % BITS, until - chunk);
      if ((Atomics.load(this.#bits, Math.floor(chunk / BITS)) & mask) !== 0) return true;
      chunk = until;
    }
    return false;
  }

  // ---- resync ----

  /**
   * The first stale chunk at or after `from`; -1: none. Passes over what is not stale with plain loads,
   * ten times as fast: a bit that was set before something that the caller has seen is seen, a later
   * one perhaps.
   */
  next(from: number): number {
    const words = Math.ceil(this.chunkCount / BITS);
    let word = Math.floor(from / BITS);
    let mask = -1 << (from % BITS);
    while (word < words) {
      const bits = this.#load(word) & mask;
      if (bits !== 0) return word * BITS + lowestBit(bits);
      mask = -1;
      word = this.#nextWord(word + 1, words);
    }
    return -1;
  }

  /** The first word at or after `word` that has bits. */
  #nextWord(word: number, words: number): number {
    const bits = this.#bits;
    while (word < words && bits[word] === 0) word++;
    return word;
  }

  /** Stale chunks in a row from `chunk` on, at most `limit`. */
  runLength(chunk: number, limit: number): number {
    const end = Math.min(this.chunkCount, chunk + limit);
    let at = chunk;
    while (at < end) {
      const skipped = at % BITS;
      // Plain, as in next(): only this thread clears bits.
      const fresh = ~(this.#bits[Math.floor(at / BITS)] >>> skipped);
      const run = fresh === 0 ? BITS : lowestBit(fresh);
      at += run;
      if (skipped + run < BITS) break;
    }
    return Math.min(at, end) - chunk;
  }

  /** The blocks of chunks `chunk` to `chunk + count - 1`: the first, and how many. */
  firstBlock(chunk: number): number {
    return chunk * this.chunkBlocks;
  }

  blocksOf(chunk: number, count: number): number {
    return Math.min(this.#blockCount, (chunk + count) * this.chunkBlocks) - this.firstBlock(chunk);
  }

  /** Clears the bits of stale chunks whose interval lock is held; the count follows by settle(). */
  take(chunk: number, count: number): void {
    for (let k = chunk; k < chunk + count; k++) {
      Atomics.and(this.#bits, Math.floor(k / BITS), ~(1 << (k % BITS)));
    }
  }

  /** The copies of `count` chunks that take() got stand in the ring. */
  settle(count: number): void {
    Atomics.sub(this.#words, WORD.staleChunks, count);
  }

  #load(word: number): number {
    return Atomics.load(this.#bits, word);
  }

  #chunkOf(block: number): number {
    return Math.floor(block / this.chunkBlocks);
  }
}
