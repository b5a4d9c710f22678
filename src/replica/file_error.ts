// What the operating system's refusals mean for the file store, with advice for the operator.
// Caller: file_store.ts.

import { ReplicaError, usageError } from "../base/errors.ts";
import { closedError, type Effect, storeUnavailable } from "./store_error.ts";

/** Refusals that stay until somebody does something, with what to do. */
const OPERATOR_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "Free space on the replica's file system: a replica only grows in this version.",
  EDQUOT: "Raise the disk quota of the user that runs the program, or free space.",
  EACCES: "Give the user that runs the program read and write permission on the replica directory.",
  EPERM: "The file system does not allow it: check its mount options and the directory's owner.",
  EROFS: "Mount the replica's file system read-write; look into the kernel log for its errors.",
};

const USAGE_CODES: ReadonlySet<string> = new Set([
  "ENAMETOOLONG",
  "ENOTDIR",
  "EISDIR",
  "ELOOP",
  "EINVAL",
]);

export interface FileErrorDetails {
  /** "read", "write", …: completes "Cannot <verb> <object>". */
  readonly verb: string;
  readonly object: string;
  readonly effect: Effect;
}

/** The ReplicaError for anything that a file operation threw. */
export function fileError(error: unknown, details: FileErrorDetails): ReplicaError {
  if (error instanceof ReplicaError) return error;
  const { verb, object, effect } = details;
  const code = codeOf(error);
  const message = `Cannot ${verb} ${object}: ${reasonOf(error)}`;
  if (USAGE_CODES.has(code)) return usageError(message, { cause: error, context: { code } });
  if (error instanceof Deno.errors.BadResource) return closedError(message, error);
  const hint = OPERATOR_HINTS[code];
  return storeUnavailable(message, {
    code,
    effect,
    hint,
    cause: error,
    operator: hint !== undefined || code === "NotCapable",
  });
}

/** The errno name of an error of Deno's file functions, or the error's own name. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "Unknown";
  const code = (error as Error & { code?: unknown }).code;
  return typeof code === "string" ? code : error.name;
}

/** "No space left on device" out of "No space left on device (os error 28): write '/path'". */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const reason = /^(.*?) \(os error \d+\)/.exec(text)?.[1] ?? text;
  return reason.charAt(0).toLowerCase() + reason.slice(1);
}
