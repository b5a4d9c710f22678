// Waiting between tries: capped exponential growth with equal jitter, so that many clients of a store
// that comes back do not come back at the same instant.

export interface BackoffLimits {
  readonly firstMs: number;
  readonly capMs: number;
}

export const DEFAULT_BACKOFF: BackoffLimits = { firstMs: 100, capMs: 10_000 };

/** Milliseconds before try number `attempt + 2`; `random` is uniform in [0, 1). */
export function backoffMs(attempt: number, random: number, limits = DEFAULT_BACKOFF): number {
  const ceiling = Math.min(limits.capMs, limits.firstMs * 2 ** Math.min(attempt, 30));
  return ceiling * (0.5 + random / 2);
}
