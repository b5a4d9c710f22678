// A limit on how long to wait.

import { type Clock, systemClock } from "./clock.ts";

export interface WithinOptions {
  readonly clock?: Clock;
  /** Aborted: the wait ends at once, as if it were late. */
  readonly signal?: AbortSignal;
}

/**
 * What `promise` gives, or "late" when it takes longer than `ms` milliseconds. What it stands for goes on
 * then; if it fails later nobody hears of it.
 */
export async function within<T>(
  promise: Promise<T>,
  ms: number,
  { clock = systemClock, signal }: WithinOptions = {},
): Promise<T | "late"> {
  const done = new AbortController();
  const ends = signal === undefined ? done.signal : AbortSignal.any([signal, done.signal]);
  const late = clock.sleep(ms, ends).then(() => "late" as const);
  try {
    // race() itself handles a rejection that comes after the limit.
    return await Promise.race([promise, late]);
  } finally {
    done.abort();
  }
}
