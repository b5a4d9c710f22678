// A clock that only moves when somebody sleeps on it: waiting costs no time, and what was waited for
// can be looked at. For code that does one thing at a time; the simulator has its own.

import type { Clock } from "../../src/base/clock.ts";

export class FakeClock implements Clock {
  /** Every sleep asked for, in milliseconds. */
  readonly sleeps: number[] = [];
  #nowMs = 0;

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    this.sleeps.push(ms);
    this.#nowMs += ms;
    // A turn of the event loop, so that an abort from elsewhere can come in between.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
