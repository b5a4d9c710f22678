// liburing: setting up, entering and registering. Its inline helpers (get_sqe, prep_*, cqe_seen)
// are not exported by the library, so src/ublk/ring.ts writes SQEs and reads CQEs itself, through
// the pointers that liburing leaves in `struct io_uring`. That struct is part of liburing's ABI
// (soname 2); tests/conformance compares these offsets with the installed header.

import { size64, struct, u32, u64, u8, zero } from "../src/base/struct.ts";
import { openLibrary } from "./open.ts";

const LIBURING_SYMBOLS = {
  io_uring_queue_init_params: {
    parameters: [
      "u32", // unsigned entries
      "buffer", // struct io_uring *ring
      "buffer", // struct io_uring_params *p
    ],
    result: "i32",
  },
  io_uring_queue_exit: { parameters: ["pointer" /* struct io_uring *ring */], result: "void" },
  io_uring_submit: { parameters: ["pointer" /* struct io_uring *ring */], result: "i32" },
  io_uring_submit_and_wait: {
    parameters: ["pointer", /* struct io_uring *ring */ "u32" /* unsigned wait_nr */],
    result: "i32",
  },
  io_uring_get_events: { parameters: ["pointer" /* struct io_uring *ring */], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The opened library's functions. */
export type Liburing = Deno.DynamicLibrary<typeof LIBURING_SYMBOLS>["symbols"];

let opened: Liburing | undefined;

/** Opens liburing for this thread; later calls return the same functions. */
export function openLiburing(): Liburing {
  opened ??= openLibrary(
    { names: ["liburing.so.2"], debianPackage: "liburing2", overrideVariable: "LIBURING_PATH" },
    LIBURING_SYMBOLS,
  ).symbols;
  return opened;
}

/** `struct io_uring_params` of <linux/io_uring.h>. */
export const IoUringParams = struct("io_uring_params", 120, {
  sqEntries: u32,
  cqEntries: u32,
  flags: u32,
  sqThreadCpu: u32,
  sqThreadIdle: u32,
  features: u32,
  wqFd: u32,
  resv: zero(12),
  sqHead: u32,
  sqTail: u32,
  sqRingMask: u32,
  sqRingEntries: u32,
  sqFlags: u32,
  sqDropped: u32,
  sqArray: u32,
  sqResv1: u32,
  sqUserAddr: u64,
  cqHead: u32,
  cqTail: u32,
  cqRingMask: u32,
  cqRingEntries: u32,
  cqOverflow: u32,
  cqCqes: u32,
  cqFlags: u32,
  cqResv1: u32,
  cqUserAddr: u64,
});

/** `struct io_uring` of <liburing.h>: where liburing keeps a ring's mapped addresses. */
export const IoUring = struct("io_uring", 216, {
  sqKhead: u64,
  sqKtail: u64,
  sqKringMask: u64,
  sqKringEntries: u64,
  sqKflags: u64,
  sqKdropped: u64,
  sqArray: u64,
  sqSqes: u64,
  sqSqeHead: u32,
  sqSqeTail: u32,
  sqRingSize: size64,
  sqRingPtr: u64,
  sqRingMask: u32,
  sqRingEntries: u32,
  sqPad: u64,
  cqKhead: u64,
  cqKtail: u64,
  cqKringMask: u64,
  cqKringEntries: u64,
  cqKflags: u64,
  cqKoverflow: u64,
  cqCqes: u64,
  cqRingSize: size64,
  cqRingPtr: u64,
  cqRingMask: u32,
  cqRingEntries: u32,
  cqPad: u64,
  flags: u32,
  ringFd: u32,
  features: u32,
  enterRingFd: u32,
  intFlags: u8,
  pad: zero(3),
  pad2: u32,
});
