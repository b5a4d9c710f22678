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
  async runAll<T>(items: Iterable<T>, task: (item: T) => Promise<void>): Promise<void> {
    const failures: unknown[] = [];
    const iterator = items[Symbol.iterator]();
    const drain = async () => {
      for (let next = iterator.next(); !next.done; next = iterator.next()) {
        const item = next.value;
        try {
          if (failures.length === 0) await this.run(() => task(item));
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: this.#max }, drain));
    if (failures.length > 0) throw failures[0];
  }
}
