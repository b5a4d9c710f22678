// The errors that cross module borders. A kind says what the caller does next; the exit code of the
// command line follows from it. Hot paths do not throw: they return bytes or a negative errno.

/**
 * What the caller can do about an error.
 * - `usage`: fix the command or the configuration.
 * - `data`: stored bytes contradict the format, or identities do not match; stop.
 * - `unavailable`: a service or a resource does not answer now, or a state does not allow it; retry later.
 * - `fenced`: somebody else wrote where only we may write; stop replicating.
 * - `kernel`: a system call or the ublk driver refused.
 * - `closed`: the thing was stopped in an orderly way.
 */
export type ErrorKind = "usage" | "data" | "unavailable" | "fenced" | "kernel" | "closed";

/** Exit codes of the command line, one per kind; 1 is a bug (an exception that is no ReplicaError). */
export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  usage: 2,
  data: 3,
  unavailable: 4,
  fenced: 5,
  kernel: 6,
  // What was waited for did not come: only a signal of one's own makes that an expected end (report.ts).
  closed: 4,
};

/** Values that an error carries for logs and `--json`; shown as key=value. */
export type ErrorContext = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

export interface ReplicaErrorOptions {
  /** What to do about it: one sentence for the operator. */
  hint?: string;
  context?: ErrorContext;
  cause?: unknown;
}

/** An error with a kind, a message "Cannot <verb> <object>: <reason>", a hint and its values. */
export class ReplicaError extends Error {
  override name = "ReplicaError";
  readonly kind: ErrorKind;
  readonly hint: string | undefined;
  readonly context: ErrorContext;

  constructor(kind: ErrorKind, message: string, options: ReplicaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.hint = options.hint;
    this.context = options.context ?? {};
  }
}

export function usageError(message: string, options?: ReplicaErrorOptions): ReplicaError {
  return new ReplicaError("usage", message, options);
}

export function dataError(message: string, options?: ReplicaErrorOptions): ReplicaError {
  return new ReplicaError("data", message, options);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Why the system refused, for a message that names the file already: "Permission denied" of Deno's
 * "Permission denied (os error 13): open '/x'".
 */
export function systemReason(error: unknown): string {
  return messageOf(error).replace(/ \(os error \d+\).*$/s, "");
}
