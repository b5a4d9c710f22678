// Requests of one queue that wait for something all queues share: an interval lock, room in the pool,
// a region's mark on the primary. Two counts tell others that someone waits: one word for all queues,
// so that nobody looks further while it is 0, and one word of this queue, so that only queues that
// wait are woken.
//
// No lost wake-up: the caller raises the counts with park(), *then* tries once more; who makes room
// does so first and reads the counts afterwards (both sequentially consistent).

import type { Doorbells } from "../shared/doorbells.ts";
import { QUEUE_WORD, queueWord, type SharedViews, WORD } from "../shared/layout.ts";
import { TagFifo } from "./tag_fifo.ts";

/** What there is to wait for: the name of a word of all queues and of each. */
export type WaitedFor = "lockWaiters" | "poolWaiters" | "intentWaiters";

export class Waiters {
  readonly #words: Int32Array;
  readonly #qid: number;
  readonly #queues: number;
  readonly #allWord: number;
  /** Offset of the count in the words of a queue. */
  readonly #queueWord: number;
  readonly #ownWord: number;
  readonly #fifo: TagFifo;

  constructor(views: SharedViews, qid: number, waitedFor: WaitedFor) {
    const { queues, depth } = views.layout;
    this.#words = views.words;
    this.#qid = qid;
    this.#queues = queues;
    this.#allWord = WORD[waitedFor];
    this.#queueWord = QUEUE_WORD[waitedFor];
    this.#ownWord = queueWord(qid) + QUEUE_WORD[waitedFor];
    this.#fifo = new TagFifo(depth);
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

  /** Wakes the other queues that wait for the same, after something was made free. */
  ringOthers(doorbells: Doorbells): void {
    if (Atomics.load(this.#words, this.#allWord) === 0) return;
    for (let qid = 0; qid < this.#queues; qid++) {
      if (qid === this.#qid) continue;
      if (Atomics.load(this.#words, queueWord(qid) + this.#queueWord) > 0) doorbells.ring(qid);
    }
  }
}
