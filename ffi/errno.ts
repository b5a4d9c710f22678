// errno: numbers, names, and the one place where a failed call becomes a ReplicaError.
// Two conventions meet here: libc returns -1 and sets errno; io_uring and ublk return -errno.

import { type ErrorContext, ReplicaError } from "../src/base/errors.ts";
import { openLibc } from "./libc.ts";
import { int32At } from "./memory.ts";

// Linux's generic numbers: the same on x86-64 and arm64.
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EINVAL = 22;
export const ENOTTY = 25;
export const ENOSPC = 28;
export const EROFS = 30;
export const ENOSYS = 38;
export const ETIME = 62;
export const EOPNOTSUPP = 95;
export const ETIMEDOUT = 110;
export const ECANCELED = 125;

const NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  15: "ENOTBLK",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  25: "ENOTTY",
  26: "ETXTBSY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  32: "EPIPE",
  34: "ERANGE",
  38: "ENOSYS",
  52: "EBADE",
  61: "ENODATA",
  62: "ETIME",
  67: "ENOLINK",
  75: "EOVERFLOW",
  84: "EILSEQ",
  90: "EMSGSIZE",
  95: "EOPNOTSUPP",
  105: "ENOBUFS",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  114: "EALREADY",
  115: "EINPROGRESS",
  121: "EREMOTEIO",
  122: "EDQUOT",
  125: "ECANCELED",
};

const NUMBERS: ReadonlyMap<string, number> = new Map(
  Object.entries(NAMES).map(([number, name]) => [name, Number(number)]),
);

/** "EIO" for 5; "errno 200" for a number without a name here. Takes either sign. */
export function errnoName(number: number): string {
  const positive = Math.abs(number);
  return NAMES[positive] ?? `errno ${positive}`;
}

/** 5 for "EIO"; undefined for a name that is not in the table. */
export function errnoNumber(name: string): number | undefined {
  return NUMBERS.get(name);
}

let location: Int32Array | undefined;

/** This thread's errno. Read it right after the failed call, before anything else. */
export function errno(): number {
  location ??= int32At(openLibc().__errno_location(), 1);
  return location[0];
}

/** The error of a failed call, with its errno number (positive) and name in the context. */
export function errnoError(number: number, call: string, context: ErrorContext = {}): ReplicaError {
  const name = errnoName(number);
  return new ReplicaError("kernel", `Cannot ${call}: ${name}`, {
    context: { call, errno: name, ...context },
  });
}

/** The errno name that an error of {@link check} carries, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof ReplicaError) || error.kind !== "kernel") return undefined;
  const name = error.context.errno;
  return typeof name === "string" ? name : undefined;
}

/**
 * Result of a libc call: `returned` when it is not negative, else throws a kernel error with errno.
 * `call` completes "Cannot …": "open /dev/vda", "read the superblock".
 */
export function check(returned: number | bigint, call: string, context?: ErrorContext): number {
  if (returned < 0) throw errnoError(errno(), call, context);
  return Number(returned);
}

/** Result of a call that returns -errno (io_uring, ublk): `res` when not negative, else throws. */
export function checkResult(res: number, call: string, context?: ErrorContext): number {
  if (res < 0) throw errnoError(-res, call, context);
  return res;
}
