// Stamped writes: what the writer in the guest puts on a device, and how the checker on the host
// decides whether a checkpoint is a prefix of the write history.
//
// Several threads write at once, each only to its own blocks and each its next write after the last
// one was acknowledged. Every sector of a block that a write touches begins with the write's stamp:
// thread and number. With each write the thread notes how many writes of every other thread were
// acknowledged when it issued this one. A checkpoint is a prefix if and only if
// 1. for every thread its blocks are exactly as after its first n writes, for some n, and
// 2. if write w is among them, so is every write that was acknowledged before w was issued.

import { assert } from "./assert.ts";

export const BLOCK = 4096;
const SECTOR = 512;
const MAGIC = 0x57a3b;
/** A thread owns runs of this many blocks, in turn. */
const RUN_BLOCKS = 64;

export const KIND_WRITE = 0;
export const KIND_ZERO = 1;

/** That blocks look the same again after more writes than that: not by chance. */
const LOOK_AHEAD_WRITES = 500;

export interface StampShape {
  readonly threads: number;
  readonly blocks: number;
}

/** Fields of a log record: first block, number of blocks, kind, then a count per thread. */
export function recordWords(shape: StampShape): number {
  return 3 + shape.threads;
}

/** First blocks of the runs that `thread` owns. */
export function runsOf(shape: StampShape, thread: number): number[] {
  const runs: number[] = [];
  for (let block = thread * RUN_BLOCKS; block + RUN_BLOCKS <= shape.blocks;) {
    runs.push(block);
    block += shape.threads * RUN_BLOCKS;
  }
  return runs;
}

export { RUN_BLOCKS };

/** Stamps `bytes`, whole blocks, as write number `number` (from 1) of `thread`. */
export function stamp(bytes: Uint8Array, thread: number, number: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let at = 0; at < words.length; at += SECTOR / 4) {
    words[at] = MAGIC;
    words[at + 1] = thread;
    words[at + 2] = number;
  }
}

/** The write that a block shows: its number, or 0 for a block of zeros. Fails on anything else. */
function stampOf(bytes: Uint8Array, block: number, thread: number): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + block * BLOCK, BLOCK / 4);
  const number = words[0] === MAGIC ? words[2] : 0;
  for (let at = 0; at < words.length; at += SECTOR / 4) {
    const whole = number === 0
      ? words[at] === 0
      : words[at] === MAGIC && words[at + 1] === thread && words[at + 2] === number;
    assert(whole, `block ${block} is torn or foreign at its sector ${(at * 4) / SECTOR}`);
  }
  return number;
}

/** The writes that the sectors of a block show: a drive without power may tear what was not synced. */
function sectorStamps(bytes: Uint8Array, block: number, thread: number): number[] {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + block * BLOCK, BLOCK / 4);
  return Array.from({ length: BLOCK / SECTOR }, (_, sector) => {
    const [magic, by, number] = words.subarray((sector * SECTOR) / 4);
    assert(
      magic === 0 || (magic === MAGIC && by === thread),
      `block ${block} is foreign at its sector ${sector}`,
    );
    return magic === 0 ? 0 : number;
  });
}

/** One thread's history, replayed forwards only. */
class ThreadHistory {
  readonly #records: Int32Array;
  readonly #words: number;
  readonly #thread: number;
  readonly #runs: readonly number[];
  readonly #expected: Uint32Array;
  #applied = 0;

  constructor(shape: StampShape, thread: number, records: Int32Array) {
    this.#records = records;
    this.#words = recordWords(shape);
    this.#thread = thread;
    this.#runs = runsOf(shape, thread);
    this.#expected = new Uint32Array(shape.blocks);
  }

  get length(): number {
    return this.#records.length / this.#words;
  }

  /** Writes of `other` that were acknowledged when this thread issued its write `number`. */
  acknowledged(number: number, other: number): number {
    return number === 0 ? 0 : this.#records[(number - 1) * this.#words + 3 + other];
  }

  /**
   * Least and greatest n after which this thread's blocks are as in `image`. Writes above the newest
   * that it shows may be in the prefix too: zeroings, and whatever these have wiped out again.
   */
  match(image: Uint8Array): { least: number; greatest: number } {
    const shown = new Uint32Array(this.#expected.length);
    let newest = 0;
    for (const run of this.#runs) {
      for (let block = run; block < run + RUN_BLOCKS; block++) {
        shown[block] = stampOf(image, block, this.#thread);
        newest = Math.max(newest, shown[block]);
      }
    }
    assert(newest <= this.length, `thread ${this.#thread} never made write ${newest}`);
    while (this.#applied < newest) this.#applyNext();
    let differing = this.#differing(shown);
    while (differing > 0) {
      assert(
        this.#applied < this.length,
        `thread ${this.#thread}: no prefix of its history looks like this after write ${newest}`,
      );
      differing += this.#applyNext(shown);
    }
    return { least: this.#applied, greatest: this.#lastLike(shown) };
  }

  /** Fails unless every sector shows its last write up to number `synced`, or a later one. */
  checkDurable(image: Uint8Array, synced: number): void {
    while (this.#applied < synced) this.#applyNext();
    const later = new Map<number, Set<number>>();
    for (let number = synced + 1; number <= this.length; number++) {
      const [first, end] = this.#blocks(number);
      for (let block = first; block < end; block++) {
        const shown = this.#kind(number) === KIND_ZERO ? 0 : number;
        later.set(block, (later.get(block) ?? new Set()).add(shown));
      }
    }
    for (const run of this.#runs) {
      for (let block = run; block < run + RUN_BLOCKS; block++) {
        const expected = this.#expected[block];
        for (const shown of sectorStamps(image, block, this.#thread)) {
          assert(
            shown === expected || later.get(block)?.has(shown),
            `block ${block} shows write ${shown} of thread ${this.#thread}, but write ${expected} ` +
              `to it was synced`,
          );
        }
      }
    }
  }

  /** Blocks that are not as in `shown`. */
  #differing(shown: Uint32Array): number {
    let count = 0;
    for (const run of this.#runs) {
      for (let block = run; block < run + RUN_BLOCKS; block++) {
        if (shown[block] !== this.#expected[block]) count++;
      }
    }
    return count;
  }

  /** The last of the next writes after which the blocks are as they are now, in `shown`. */
  #lastLike(shown: Uint32Array): number {
    const until = Math.min(this.length, this.#applied + LOOK_AHEAD_WRITES);
    const expected = shown.slice();
    let differing = 0;
    let last = this.#applied;
    for (let number = last + 1; number <= until; number++) {
      differing += this.#apply(number, expected, shown);
      if (differing === 0) last = number;
    }
    return last;
  }

  #kind(number: number): number {
    return this.#records[(number - 1) * this.#words + 2];
  }

  #blocks(number: number): [number, number] {
    const at = (number - 1) * this.#words;
    return [this.#records[at], this.#records[at] + this.#records[at + 1]];
  }

  /** The next write; gives how many more blocks differ from `shown` after it. */
  #applyNext(shown?: Uint32Array): number {
    return this.#apply(++this.#applied, this.#expected, shown);
  }

  #apply(number: number, expected: Uint32Array, shown?: Uint32Array): number {
    const [first, end] = this.#blocks(number);
    const value = this.#kind(number) === KIND_ZERO ? 0 : number;
    let more = 0;
    for (let block = first; block < end; block++) {
      if (shown) more += Number(value !== shown[block]) - Number(expected[block] !== shown[block]);
      expected[block] = value;
    }
    return more;
  }
}

export class StampChecker {
  readonly #histories: ThreadHistory[];

  /** `logs` has the records of each thread. */
  constructor(shape: StampShape, logs: readonly Int32Array[]) {
    this.#histories = logs.map((records, thread) => new ThreadHistory(shape, thread, records));
  }

  /** Writes in all histories. */
  get writes(): number {
    return this.#histories.reduce((sum, history) => sum + history.length, 0);
  }

  /**
   * Fails unless `image` is a prefix of the history; images are to come in the order of their
   * checkpoints. Gives the number of writes that it holds at least.
   */
  check(image: Uint8Array): number {
    return this.holds(image).reduce((sum, { least }) => sum + least, 0);
  }

  /** The same, as the least and the greatest number of writes of each thread that it may hold. */
  holds(image: Uint8Array): { least: number; greatest: number }[] {
    const held = this.#histories.map((history) => history.match(image));
    for (const [thread, { least }] of held.entries()) {
      for (const [other, { greatest }] of held.entries()) {
        const needed = this.#histories[thread].acknowledged(least, other);
        assert(
          greatest >= needed,
          `holds write ${least} of thread ${thread}, issued after write ${needed} of thread ` +
            `${other} was acknowledged, but of that thread only ${greatest}`,
        );
      }
    }
    return held;
  }

  /**
   * Fails unless `image` may be what a drive without power is left with: of each thread everything up
   * to write `synced`, and of the writes after it any. For a fresh checker.
   */
  checkDurable(image: Uint8Array, synced: readonly number[]): void {
    for (const [thread, history] of this.#histories.entries()) {
      history.checkDurable(image, synced[thread]);
    }
  }
}
