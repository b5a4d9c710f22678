// Bounded concurrency for requests to a store: one Limiter per reader or writer, whoever asks.

import { invariant } from "../base/assert.ts";

export class Limiter {
  readonly #max: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    invariant(max >= 1, `${max} requests may run at once`);
    this.#max = max;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    while (this.#running >= this.#max) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running++;
    try {
      return await task();
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  /**
   * Runs `task` for each item, bounded. Settles only when no task runs any more, so that nothing
   * touches the caller's buffers later; after the first failure no further task starts, and that
   * failure is thrown.
   */
  async runAll<T>(items: readonly T[], task: (item: T) => Promise<void>): Promise<void> {
    const failures: unknown[] = [];
    let next = 0;
    const drain = async () => {
      while (next < items.length && failures.length === 0) {
        const item = items[next++];
        try {
          await this.run(() => task(item));
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.#max, items.length) }, drain));
    if (failures.length > 0) throw failures[0];
  }
}
