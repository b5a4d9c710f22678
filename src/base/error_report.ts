// Errors as plain data: what `--json` prints, what crosses the control socket and the ready pipe of a
// daemon. A ReplicaError that made the trip has the same kind, message, hint and values.

import {
  type ErrorContext,
  type ErrorKind,
  EXIT_CODES,
  messageOf,
  ReplicaError,
} from "./errors.ts";
import { InvariantError } from "./assert.ts";

/** An error as JSON. */
export interface ErrorReport {
  readonly kind: ErrorKind | "bug";
  readonly message: string;
  readonly hint?: string;
  readonly context?: Readonly<Record<string, string | number | boolean>>;
}

/** The JSON form of anything that was thrown; bigints become numbers or, above 2^53, text. */
export function reportOf(error: unknown): ErrorReport {
  if (!(error instanceof ReplicaError)) {
    return { kind: "bug", message: messageOf(error) };
  }
  const context = plainContext(error.context);
  return {
    kind: error.kind,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(Object.keys(context).length === 0 ? {} : { context }),
  };
}

/** The error that {@link reportOf} described. */
export function errorOfReport(report: ErrorReport): Error {
  if (report.kind === "bug") return new InvariantError(report.message);
  return new ReplicaError(report.kind, report.message, {
    hint: report.hint,
    context: report.context,
  });
}

/** True when `value`, from another process, has the form of an ErrorReport. */
export function isErrorReport(value: unknown): value is ErrorReport {
  if (typeof value !== "object" || value === null) return false;
  const { kind, message, hint } = value as Record<string, unknown>;
  return typeof kind === "string" && (kind === "bug" || Object.hasOwn(EXIT_CODES, kind)) &&
    typeof message === "string" && (hint === undefined || typeof hint === "string");
}

function plainContext(context: ErrorContext): Record<string, string | number | boolean> {
  const plain: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(context)) {
    if (value === undefined) continue;
    plain[key] = typeof value !== "bigint"
      ? value
      : Number.isSafeInteger(Number(value))
      ? Number(value)
      : String(value);
  }
  return plain;
}
