// Rates of growing totals over the last few seconds, for status. Owns: a timer that takes a sample
// every second, which does not keep the process alive.

import type { Clock } from "../base/clock.ts";

const SAMPLE_MS = 1_000;
const WINDOW_SAMPLES = 5;

interface Sample<K extends string> {
  readonly atMs: number;
  readonly totals: Readonly<Record<K, number>>;
}

export class RateMeter<K extends string> {
  readonly #read: () => Readonly<Record<K, number>>;
  readonly #clock: Clock;
  readonly #samples: Sample<K>[] = [];
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(clock: Clock, read: () => Readonly<Record<K, number>>) {
    this.#clock = clock;
    this.#read = read;
    this.sample();
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS);
    this.#timer.unref();
  }

  /** Takes a sample now; the timer's business, and the tests'. */
  sample(): void {
    this.#samples.push({ atMs: this.#clock.nowMs(), totals: this.#read() });
    if (this.#samples.length > WINDOW_SAMPLES) this.#samples.shift();
  }

  /** Growth per second of each total since the oldest sample that is kept. */
  perSecond(): Record<K, number> {
    const { atMs, totals } = this.#samples[0];
    const now = this.#read();
    const seconds = Math.max(this.#clock.nowMs() - atMs, 1) / 1000;
    const rates: Record<K, number> = { ...now };
    for (const key of Object.keys(now) as K[]) rates[key] = (now[key] - totals[key]) / seconds;
    return rates;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
