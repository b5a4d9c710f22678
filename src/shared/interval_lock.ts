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
import { bitRun } from "../base/bits.ts";
import { LOCK_WORDS, type SharedViews, WORD } from "./layout.ts";

const BLOCKS_PER_WORD = 32;
/** A request may not cover the table twice, or it would wait for itself. */
export const LOCK_SPAN_BLOCKS = (LOCK_WORDS - 1) * BLOCKS_PER_WORD;

export class IntervalLock {
  readonly #locks: Int32Array;
  readonly #words: Int32Array;

  constructor(views: SharedViews) {
    this.#locks = views.locks;
    this.#words = views.words;
  }

  /** Takes blocks `startBlock` to `startBlock + blockCount - 1`, or none of them and returns false. */
  tryLock(startBlock: number, blockCount: number): boolean {
    invariant(blockCount > 0 && blockCount <= LOCK_SPAN_BLOCKS, "a lock covers its table once");
    const end = startBlock + blockCount;
    for (let block = startBlock; block < end;) {
      const wordStart = block - (block % BLOCKS_PER_WORD);
      const until = Math.min(end, wordStart + BLOCKS_PER_WORD);
      if (!this.#take(wordStart, bitRun(block - wordStart, until - block))) {
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
      const mask = bitRun(block - wordStart, until - block);
      const before = Atomics.and(this.#locks, this.#index(wordStart), ~mask);
      invariant((before & mask) === mask, "only locked blocks are unlocked");
      block = until;
    }
  }

  /**
   * For rooms other than queues: tries, and wakes the queues if it fails and a request waits. What a failed
   * try held for a moment may be what kept that request from its lock.
   */
  tryLockOrWake(startBlock: number, blockCount: number, wakeQueues: () => void): boolean {
    if (this.tryLock(startBlock, blockCount)) return true;
    if (Atomics.load(this.#words, WORD.lockWaiters) > 0) wakeQueues();
    return false;
  }

  /** For rooms other than queues: unlocks, then wakes the queues if a request waits (rule 3). */
  unlockAndWake(startBlock: number, blockCount: number, wakeQueues: () => void): void {
    this.unlock(startBlock, blockCount);
    if (Atomics.load(this.#words, WORD.lockWaiters) > 0) wakeQueues();
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
