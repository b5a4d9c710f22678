// A few large buffers that all uploads of a store share: they bound its memory, and large
// allocations happen once.
//
// Invariant: a buffer that goes back is one that nobody reads any more. After a failed request its
// connection may still be sending, so the caller drops the buffer instead.
//
// Callers: s3_store.ts, s3_upload.ts.

import { closedError } from "./store_error.ts";

export class PartBuffers {
  readonly #sizeBytes: number;
  readonly #free: Uint8Array[] = [];
  readonly #waiting: ((allowed: boolean) => void)[] = [];
  #places: number;

  constructor(options: { sizeBytes: number; count: number }) {
    this.#sizeBytes = options.sizeBytes;
    this.#places = options.count;
  }

  /** Lends a buffer to `body`; waits while all are lent. Reuses it only if `body` succeeded. */
  async lend<T>(
    signal: AbortSignal | undefined,
    body: (buffer: Uint8Array) => Promise<T>,
  ): Promise<T> {
    await this.#enter(signal);
    try {
      const buffer = this.#free.pop() ?? new Uint8Array(this.#sizeBytes);
      const result = await body(buffer);
      this.#free.push(buffer);
      return result;
    } finally {
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw closedError("Cannot wait for an upload buffer: aborted");
    if (this.#places > 0) {
      this.#places--;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const onAbort = () => {
      const at = this.#waiting.indexOf(resolve);
      // It may have its place already, and not know yet.
      if (at >= 0) this.#waiting.splice(at, 1);
      resolve(false);
    };
    this.#waiting.push(resolve);
    signal?.addEventListener("abort", onAbort);
    const allowed = await promise;
    signal?.removeEventListener("abort", onAbort);
    if (!allowed) throw closedError("Cannot wait for an upload buffer: aborted");
  }

  /** Hands the place on to the one that waits longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#places++;
    else next(true);
  }
}
