// How long writes have waited to be on the replica: since when the oldest entry that no batch holds was
// seen, and the same for the batch under way. Callers: replicator.ts.

import type { Clock } from "../base/clock.ts";
import { REPLICATOR_COUNTER as COUNTER } from "../shared/counters.ts";

export class LagMeter {
  readonly #clock: Clock;
  readonly #counters: Float64Array;
  #waitingSinceMs: number | null = null;
  #committingSinceMs: number | null = null;

  /** `counters`: the replicator's row. */
  constructor(clock: Clock, counters: Float64Array) {
    this.#clock = clock;
    this.#counters = counters;
  }

  /** Milliseconds since the oldest entry in no batch was seen; null: there is none. */
  get waitingMs(): number | null {
    return this.#waitingSinceMs === null ? null : this.#clock.nowMs() - this.#waitingSinceMs;
  }

  /** Notes whether entries wait for a batch, and brings the counter up to date. */
  observe(waiting: boolean): void {
    const nowMs = this.#clock.nowMs();
    if (!waiting) this.#waitingSinceMs = null;
    else this.#waitingSinceMs ??= nowMs;
    const since = this.#committingSinceMs ?? this.#waitingSinceMs;
    this.#counters[COUNTER.oldestPendingMs] = since === null
      ? 0
      : this.#clock.wallMs() - (nowMs - since);
  }

  /** A batch took what waited. */
  cut(): void {
    this.#committingSinceMs = this.#waitingSinceMs;
    this.#waitingSinceMs = null;
  }

  /** The batch is dealt with. */
  settled(): void {
    this.#committingSinceMs = null;
  }
}
