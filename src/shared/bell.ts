// Waking the replicator. It has an event loop, so it is woken through Atomics.notify; queues are
// blocked in their ring and are woken through their doorbell's eventfd (shared/doorbells.ts).
//
// A sleeping replicator first raises `replicatorAsleep`, then looks for work once more, and only then
// waits; a queue publishes first and reads the flag afterwards. Both are sequentially consistent, so
// one of the two sees the other: no wake-up is lost. While the replicator is awake a queue pays one
// load per write.

import { type SharedViews, WORD } from "./layout.ts";

/** A queue's side: wakes the replicator if it sleeps. */
export function ringIfAsleep(words: Int32Array): void {
  if (Atomics.load(words, WORD.replicatorAsleep) !== 0) ringReplicator(words);
}

/** Wakes the replicator, whatever it waits for. */
export function ringReplicator(words: Int32Array): void {
  Atomics.add(words, WORD.replicatorBell, 1);
  Atomics.notify(words, WORD.replicatorBell);
}

export interface BellWait {
  readonly timeoutMs: number;
  /** Every publish rings; without, only a queue that needs something now. */
  readonly idle: boolean;
  /** Asked again after the flag is up: something has come meanwhile. */
  readonly hasWork: () => boolean;
}

/** The replicator's side. */
export interface Bell {
  /** Waits until the bell rings or `timeoutMs` has passed. */
  wait(options: BellWait): Promise<void>;
}

/** The bell of a thread with an event loop. */
export class ReplicatorBell implements Bell {
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(views: SharedViews) {
    this.#words = views.words;
  }

  async wait(options: BellWait): Promise<void> {
    const words = this.#words;
    const seen = Atomics.load(words, WORD.replicatorBell);
    // A pending waitAsync does not keep Deno's event loop alive; a timer does. It comes again and again:
    // the wait may end later than the first one.
    const keepAlive = setInterval(() => {}, options.timeoutMs);
    if (options.idle) Atomics.store(words, WORD.replicatorAsleep, 1);
    try {
      if (options.hasWork()) return;
      const result = Atomics.waitAsync(words, WORD.replicatorBell, seen, options.timeoutMs);
      if (result.async) await result.value;
    } finally {
      clearInterval(keepAlive);
      Atomics.store(words, WORD.replicatorAsleep, 0);
    }
  }
}
