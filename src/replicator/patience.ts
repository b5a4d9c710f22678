// Doing something until it works: for steps whose failure time heals, however long that takes.

import { backoffMs } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";

export interface Patience {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Ends the waiting: the step then fails with `closed`. */
  readonly signal: AbortSignal | undefined;
  /** Whether time may heal an error. */
  readonly heals: (error: ReplicaError) => boolean;
  /** A try failed and another will follow. */
  readonly onRetry: (error: ReplicaError) => void;
}

/** Repeats `step` while it fails with errors that time heals; throws every other error. */
export async function untilDone<T>(patience: Patience, step: () => Promise<T>): Promise<T> {
  const { clock, random, signal, heals, onRetry } = patience;
  for (let attempt = 0;; attempt++) {
    if (signal?.aborted) throw closed();
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof ReplicaError) || !heals(error)) throw error;
      onRetry(error);
      await clock.sleep(backoffMs(attempt, random()), signal);
      if (signal?.aborted) throw closed(error);
    }
  }
}

function closed(cause?: unknown): ReplicaError {
  return new ReplicaError("closed", "Cannot go on: told to give up", { cause });
}
