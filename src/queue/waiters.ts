// Requests of one queue that wait for something all queues share: an interval lock or room in the
// pool. Two counts tell others that someone waits: one word for all queues, so that nobody looks
// further while it is 0, and one word of this queue, so that only queues that wait are woken.
//
// No lost wake-up: the caller raises the counts with park(), *then* tries once more; who makes room
// does so first and reads the counts afterwards (both sequentially consistent).

import { TagFifo } from "./tag_fifo.ts";

export class Waiters {
  readonly #words: Int32Array;
  readonly #allWord: number;
  readonly #ownWord: number;
  readonly #fifo: TagFifo;

  constructor(words: Int32Array, options: { allWord: number; ownWord: number; depth: number }) {
    this.#words = words;
    this.#allWord = options.allWord;
    this.#ownWord = options.ownWord;
    this.#fifo = new TagFifo(options.depth);
  }

  get count(): number {
    return this.#fifo.length;
  }

  park(tag: number): void {
    this.#fifo.push(tag);
    Atomics.add(this.#words, this.#ownWord, 1);
    Atomics.add(this.#words, this.#allWord, 1);
  }

  front(): number {
    return this.#fifo.front();
  }

  /** Takes the front out; it no longer waits. */
  unpark(): number {
    Atomics.sub(this.#words, this.#ownWord, 1);
    Atomics.sub(this.#words, this.#allWord, 1);
    return this.#fifo.shift();
  }

  /** Moves the front to the end: it goes on waiting. */
  rotate(): void {
    this.#fifo.push(this.#fifo.shift());
  }
}
