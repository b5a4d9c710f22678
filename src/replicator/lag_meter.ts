// How far the replica is behind in time: since when the oldest entry that no batch holds was seen, the same
// for the batch under way, and since when writes are missing from what may be published - while a resync
// runs, all of it is published at its end only. Callers: replicator.ts.

import type { Clock } from "../base/clock.ts";
import { REPLICATOR_COUNTER as COUNTER } from "../shared/counters.ts";

export class LagMeter {
  readonly #clock: Clock;
  readonly #counters: Float64Array;
  #waitingSinceMs: number | null = null;
  #committingSinceMs: number | null = null;
  #behindSinceMs: number | null = null;

  /** `counters`: the replicator's row. */
  constructor(clock: Clock, counters: Float64Array) {
    this.#clock = clock;
    this.#counters = counters;
  }

  /** Milliseconds since the oldest entry in no batch was seen; null: there is none. */
  get waitingMs(): number | null {
    return this.#waitingSinceMs === null ? null : this.#clock.nowMs() - this.#waitingSinceMs;
  }

  /**
   * Notes whether entries wait for a batch, and whether the history is whole, and brings the counter up to
   * date. When a history ends, what is in the ring is published first: for that long the lag is told too long.
   */
  observe(waiting: boolean, historyIsWhole: boolean): void {
    const nowMs = this.#clock.nowMs();
    if (!waiting) this.#waitingSinceMs = null;
    else this.#waitingSinceMs ??= nowMs;
    const pooled = this.#committingSinceMs ?? this.#waitingSinceMs;
    if (!historyIsWhole) this.#behindSinceMs ??= pooled ?? nowMs;
    const since = this.#behindSinceMs ?? pooled;
    this.#counters[COUNTER.oldestPendingMs] = since === null
      ? 0
      : this.#clock.wallMs() - (nowMs - since);
  }

  /** A batch took what waited. */
  cut(): void {
    this.#committingSinceMs = this.#waitingSinceMs;
    this.#waitingSinceMs = null;
  }

  /** A checkpoint has what was missing; no longer whole: something newer is missing since that was collected. */
  caughtUp(historyIsWhole: boolean): void {
    this.#behindSinceMs = historyIsWhole ? null : this.#committingSinceMs ?? this.#clock.nowMs();
  }

  /** The batch is dealt with. */
  settled(): void {
    this.#committingSinceMs = null;
  }
}
