// Waking queues. A queue is blocked in its ring and hears only completions, so it keeps a READ of its
// eventfd armed there; whoever wants it writes to that eventfd. The `doorbellRung` word saves the
// system call when the bell already rings: the queue clears it before it looks at what it parked.

import { openLibc } from "../../ffi/libc.ts";
import { QUEUE_WORD, queueWord, type SharedViews } from "./layout.ts";

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

export class Doorbells {
  readonly #words: Int32Array;
  readonly #fds: readonly number[];
  readonly #signal: (fd: number) => void;

  /** The doorbells behind real eventfds, one per queue. */
  static ofEventfds(views: SharedViews, fds: readonly number[]): Doorbells {
    const libc = openLibc();
    return new Doorbells(views, fds, (fd) => libc.write(fd, ONE, 8n));
  }

  /** `signal` adds 1 to an eventfd; `fds` has one per queue. */
  constructor(views: SharedViews, fds: readonly number[], signal: (fd: number) => void) {
    this.#words = views.words;
    this.#fds = fds;
    this.#signal = signal;
  }

  ring(qid: number): void {
    const word = queueWord(qid) + QUEUE_WORD.doorbellRung;
    if (Atomics.exchange(this.#words, word, 1) === 0) this.#signal(this.#fds[qid]);
  }

  ringAll(): void {
    for (let qid = 0; qid < this.#fds.length; qid++) this.ring(qid);
  }

  /** The queue itself, when it hears the bell and before it acts on it. */
  heard(qid: number): void {
    Atomics.store(this.#words, queueWord(qid) + QUEUE_WORD.doorbellRung, 0);
  }
}
