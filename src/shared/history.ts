// Up to where the ring holds every write: one word that decides what may be published.
//
//   WHOLE                 every acknowledged write is in the ring
//   ends at position p    every write acknowledged before position p was reserved stands before p;
//                         after p some are missing, and their chunks are stale
//
// Invariants:
// 1. A write that is not captured marks its chunks, then makes sure that the history ends somewhere,
//    then is acknowledged. The position is the pool's head, read before the acknowledgement: no entry
//    before it belongs to a write that was issued after this one was acknowledged. So what stands
//    before p is a prefix of the write history.
// 2. Only the replicator makes the history whole again: when no chunk is stale. A queue that marked
//    meanwhile finds it whole and ends it anew before it acknowledges.

import { type SharedViews, WORD } from "./layout.ts";

/** Positions are stored plus one, so that fresh memory says WHOLE. */
const WHOLE = 0;

export class History {
  readonly #words: Int32Array;

  constructor(views: SharedViews) {
    this.#words = views.words;
  }

  isWhole(): boolean {
    return Atomics.load(this.#words, WORD.historyEnd) === WHOLE;
  }

  /** The position where it ends, or -1 when it is whole. */
  end(): number {
    return Atomics.load(this.#words, WORD.historyEnd) - 1;
  }

  /** A queue, after it marked and before it acknowledges. Keeps an end that there is already. */
  endAtHead(): void {
    const words = this.#words;
    if (Atomics.load(words, WORD.historyEnd) !== WHOLE) return;
    const head = Atomics.load(words, WORD.poolHead);
    Atomics.compareExchange(words, WORD.historyEnd, WHOLE, head + 1);
  }

  // ---- replicator ----

  makeWhole(): void {
    Atomics.store(this.#words, WORD.historyEnd, WHOLE);
  }

  /** Takes makeWhole() back: a chunk became stale before it. */
  endAt(position: number): void {
    Atomics.store(this.#words, WORD.historyEnd, position + 1);
  }
}
