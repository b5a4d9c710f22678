// What a failed request to an object store tells its caller, beyond the kind of error:
// - `effect`: "none" when it is certain that nothing was changed, "unknown" when the request may
//   have taken effect although its answer was lost;
// - `operator`: true when it will not heal by waiting (keys, permissions, a missing bucket, a full
//   disk), so that a one-shot command stops at once while the daemon keeps trying;
// - `status` and `code`: the store's own answer; `retryAfterMs`: how long the store asks to wait.
//
// All of it travels in ReplicaError.context. Callers: every store, the retry decorator, and the
// Hyperfile writer when it resolves a lost answer.

import { type ErrorContext, ReplicaError } from "../base/errors.ts";

export type Effect = "none" | "unknown";

export interface StoreFailure {
  /** Stable short name: an errno name, an S3 error code, or a word of ours such as "Timeout". */
  readonly code: string;
  readonly effect: Effect;
  readonly status?: number;
  readonly operator?: boolean;
  readonly retryAfterMs?: number;
  readonly hint?: string;
  readonly cause?: unknown;
  readonly context?: ErrorContext;
}

/** An `unavailable` error that carries `failure`. */
export function storeUnavailable(message: string, failure: StoreFailure): ReplicaError {
  const { hint, cause, context, ...facts } = failure;
  return new ReplicaError("unavailable", message, {
    hint,
    cause,
    context: { ...context, ...facts },
  });
}

/** The error of a call that was aborted by its signal or by close(). */
export function closedError(message: string, cause?: unknown): ReplicaError {
  return new ReplicaError("closed", message, { cause });
}

/**
 * Whether the failed call may have changed the store. Only errors that are known to have happened
 * before the effect say no, so a put under a condition may be sent again after them.
 */
export function mayHaveTakenEffect(error: unknown): boolean {
  if (!(error instanceof ReplicaError)) return true;
  if (error.kind === "usage") return false;
  return error.context.effect !== "none";
}

/** Whether waiting alone will not help: somebody has to change keys, permissions or space. */
export function needsOperator(error: unknown): boolean {
  return error instanceof ReplicaError && error.context.operator === true;
}

/** How long the store asked to wait before the next try; 0 where it did not say. */
export function retryAfterMs(error: unknown): number {
  const wait = error instanceof ReplicaError ? error.context.retryAfterMs : 0;
  return typeof wait === "number" ? wait : 0;
}
