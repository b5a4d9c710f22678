// Ends a request that makes no progress: a hung server, a black hole in the network. A limit on the
// whole request would either cut slow lines off or notice a hang too late.
//
// Invariant: after stop() no timer and no listener is left.
//
// Caller: s3_connection.ts.

import type { Clock } from "../base/clock.ts";

export interface ProgressWatchOptions {
  readonly clock: Clock;
  readonly idleTimeoutMs: number;
  /** The caller's and the store's own reasons to stop. */
  readonly signals: readonly (AbortSignal | undefined)[];
}

export class ProgressWatch {
  readonly #options: ProgressWatchOptions;
  readonly #abort = new AbortController();
  readonly #stop = new AbortController();
  readonly #onAbort = () => this.#abort.abort();
  #lastMs: number;
  #timedOut = false;

  constructor(options: ProgressWatchOptions) {
    this.#options = options;
    this.#lastMs = options.clock.nowMs();
    for (const signal of options.signals) {
      if (signal?.aborted) this.#abort.abort();
      signal?.addEventListener("abort", this.#onAbort);
    }
  }

  /** Runs `body`, which must end soon after `signal` is aborted. */
  async run<T>(body: () => Promise<T>): Promise<T> {
    const watching = this.#watch();
    try {
      return await body();
    } finally {
      this.#stop.abort();
      for (const signal of this.#options.signals) {
        signal?.removeEventListener("abort", this.#onAbort);
      }
      await watching;
    }
  }

  /** Aborted when a caller's signal is, or when nothing moved for too long. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get timedOut(): boolean {
    return this.#timedOut;
  }

  /** Something moved. `graceMs`: for how long it may go on moving where nobody sees it. */
  progress(graceMs = 0): void {
    this.#lastMs = this.#options.clock.nowMs() + graceMs;
  }

  async #watch(): Promise<void> {
    const { clock, idleTimeoutMs } = this.#options;
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      const leftMs = this.#lastMs + idleTimeoutMs - clock.nowMs();
      if (leftMs <= 0) {
        this.#timedOut = true;
        this.#abort.abort();
        return;
      }
      await clock.sleep(leftMs, stop);
    }
  }
}
