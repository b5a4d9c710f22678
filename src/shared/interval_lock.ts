// Keeps overlapping writes in flight apart, across all queues (R2): were two of them submitted to
// the primary at once, the order in which they reach the drive could differ from their order in the
// pool, and primary and replica would disagree for ever without any crash.
//
// A table of words shared by the queues: one bit per block, one word per 32 consecutive blocks,
// word = (block / 32) mod table size. Two distant blocks may share a bit: that makes one of them
// wait without need, never the reverse.
//
// Invariants:
// 1. A bit is set by at most one owner: it is set by compare-and-exchange from a word where it was
//    clear, and cleared only by its owner.
// 2. Nobody waits while it holds: tryLock() takes all or nothing. So there is no deadlock.
// 3. No lost wake-up: who fails to lock raises the waiter count *before* it tries once more, and who
//    unlocks clears its bits *before* it reads the count (both sequentially consistent).

import { invariant } from "../base/assert.ts";
import { LOCK_WORDS, type SharedViews } from "./layout.ts";

const BLOCKS_PER_WORD = 32;
/** A request may not cover the table twice, or it would wait for itself. */
export const LOCK_SPAN_BLOCKS = (LOCK_WORDS - 1) * BLOCKS_PER_WORD;

/** The bits of one word that blocks `from` to `to - 1` (0 to 32, within the word) occupy. */
function maskOf(from: number, to: number): number {
  const count = to - from;
  return count === BLOCKS_PER_WORD ? -1 : ((1 << count) - 1) << from;
}

export class IntervalLock {
  readonly #locks: Int32Array;

  constructor(views: SharedViews) {
    this.#locks = views.locks;
  }

  /** Takes blocks `startBlock` to `startBlock + blockCount - 1`, or none of them and returns false. */
  tryLock(startBlock: number, blockCount: number): boolean {
    invariant(blockCount > 0 && blockCount <= LOCK_SPAN_BLOCKS, "a lock covers its table once");
    const end = startBlock + blockCount;
    for (let block = startBlock; block < end;) {
      const wordStart = block - (block % BLOCKS_PER_WORD);
      const until = Math.min(end, wordStart + BLOCKS_PER_WORD);
      if (!this.#take(wordStart, maskOf(block - wordStart, until - wordStart))) {
        if (block > startBlock) this.unlock(startBlock, block - startBlock);
        return false;
      }
      block = until;
    }
    return true;
  }

  unlock(startBlock: number, blockCount: number): void {
    const end = startBlock + blockCount;
    for (let block = startBlock; block < end;) {
      const wordStart = block - (block % BLOCKS_PER_WORD);
      const until = Math.min(end, wordStart + BLOCKS_PER_WORD);
      const mask = maskOf(block - wordStart, until - wordStart);
      const before = Atomics.and(this.#locks, this.#index(wordStart), ~mask);
      invariant((before & mask) === mask, "only locked blocks are unlocked");
      block = until;
    }
  }

  #index(wordStart: number): number {
    return (wordStart / BLOCKS_PER_WORD) % LOCK_WORDS;
  }

  #take(wordStart: number, mask: number): boolean {
    const index = this.#index(wordStart);
    for (;;) {
      const before = Atomics.load(this.#locks, index);
      if ((before & mask) !== 0) return false;
      if (Atomics.compareExchange(this.#locks, index, before, before | mask) === before) {
        return true;
      }
    }
  }
}
