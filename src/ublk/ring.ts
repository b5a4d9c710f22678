// One io_uring: SQEs written and CQEs read in place. Owns: the ring's memory and file descriptor.
// No ublk word in here; src/ublk/queue.ts and src/ublk/control.ts put commands into the SQEs.
//
// Invariants:
// - a ring belongs to the thread that made it (SINGLE_ISSUER where the kernel has it);
// - nothing is allocated, no bigint is made and nothing is thrown (but an invariant) by nextSqe(), the
//   prepare functions, submitAndWait() and forEachCqe(): they are the I/O path;
// - every word of an SQE is written by prepare(), so entries need no clearing between uses;
// - with DEFER_TASKRUN completions only appear while the thread waits in submitAndWait() or poll().

import { checkResult, EAGAIN, EBUSY, EINTR, EINVAL } from "../../ffi/errno.ts";
import { IoUring, IoUringParams, type Liburing, openLiburing } from "../../ffi/liburing.ts";
import {
  high32,
  int32At,
  low32,
  MEMORY_PAGE_BYTES,
  pointerAt,
  SharedArea,
} from "../../ffi/memory.ts";
import { invariant } from "../base/assert.ts";
import { i32, struct, u16, u32, u64, u8, viewOf } from "../base/struct.ts";

/** `struct io_uring_sqe` of <linux/io_uring.h>, with the unions that are used here. */
export const Sqe = struct("io_uring_sqe", 64, {
  opcode: u8,
  flags: u8,
  ioprio: u16,
  fd: i32,
  /** `off`; its low half is `cmd_op` of IORING_OP_URING_CMD. */
  off: u64,
  /** Buffer address; the length of IORING_OP_FALLOCATE. */
  addr: u64,
  /** Buffer length; the mode of IORING_OP_FALLOCATE. */
  len: u32,
  /** rw_flags, fsync_flags, timeout_flags, cancel_flags. */
  opFlags: u32,
  userData: u64,
  bufIndex: u16,
  personality: u16,
  spliceFdIn: i32,
  /** Start of `cmd` of IORING_OP_URING_CMD: 16 bytes, or 80 with SQE128. */
  cmd: u64,
  cmd2: u64,
});

/** `struct io_uring_cqe`. */
export const Cqe = struct("io_uring_cqe", 16, { userData: u64, res: i32, flags: u32 });

// Word (32-bit) indexes derived from the records.
const OPCODE = Sqe.offset.opcode / 4;
const FD = Sqe.offset.fd / 4;
const OFF = Sqe.offset.off / 4;
const ADDR = Sqe.offset.addr / 4;
const LEN = Sqe.offset.len / 4;
const OP_FLAGS = Sqe.offset.opFlags / 4;
const USER_DATA = Sqe.offset.userData / 4;
const BUF_INDEX = Sqe.offset.bufIndex / 4;
const SPLICE_FD = Sqe.offset.spliceFdIn / 4;
/** Word of an SQE at which the command of IORING_OP_URING_CMD starts. */
export const SQE_CMD_WORD = Sqe.offset.cmd / 4;
const CQE_WORDS = Cqe.size / 4;
const CQE_USER_DATA = Cqe.offset.userData / 4;
const CQE_RES = Cqe.offset.res / 4;
const SQE_TAIL = IoUring.offset.sqSqeTail / 4;

export const IORING_OP_NOP = 0;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_TIMEOUT = 11;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_FALLOCATE = 17;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_OP_URING_CMD = 46;

/** SQE flag: run the operation on a worker thread of the kernel, so that submitting never blocks. */
export const IOSQE_ASYNC = 1 << 4;
export const IORING_FSYNC_DATASYNC = 1;
/** Per-write durability (FUA), as pwritev2(2) has it. */
export const RWF_DSYNC = 2;

const IORING_SETUP_CQSIZE = 1 << 3;
const IORING_SETUP_CLAMP = 1 << 4;
const IORING_SETUP_SUBMIT_ALL = 1 << 7;
const IORING_SETUP_SQE128 = 1 << 10;
const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
const IORING_SETUP_DEFER_TASKRUN = 1 << 13;

export interface RingOptions {
  /** Room for SQEs between two submits; rounded up to a power of two by the kernel. */
  readonly entries: number;
  /** Room for CQEs; at least as many as operations can be in flight. */
  readonly completionEntries: number;
  /** 128-byte SQEs, as ublk's control commands need. */
  readonly wideSqes?: boolean;
  /**
   * Completions run only while this thread waits: the fast way for a thread that does nothing
   * else. Off for a ring that an event loop looks into now and then.
   */
  readonly deferTaskRun?: boolean;
}

/** How often submit() tries where nothing but a passing refusal stands against it. */
const SUBMIT_TRIES = 10_000;
const REFUSED_MS = 1;

/**
 * Whether a failed submit is to be tried again, best after completions were taken, as io_uring_enter(2) has it: a
 * signal came (EINTR), the kernel is short of memory for requests (EAGAIN), or has more completions than
 * the queue of them holds (EBUSY). What was prepared is still there.
 */
export function isPassingRefusal(taken: number): boolean {
  return taken === -EINTR || taken === -EAGAIN || taken === -EBUSY;
}

/** What {@link Ring.forEachCqe} calls; one object for the ring's life, so the call stays direct. */
export interface CqeSink {
  /** `userData` is the low half of what the SQE carried, as a signed 32-bit number. */
  onCqe(userData: number, res: number): void;
}

export class Ring {
  /** All SQEs, as 32-bit words; index with what {@link nextSqe} returns. */
  readonly sqes: Int32Array;
  readonly fd: number;
  readonly #library: Liburing;
  readonly #memory: SharedArea;
  readonly #pointer: Deno.PointerValue;
  readonly #words: Int32Array;
  readonly #sqHead: Int32Array;
  readonly #sqEntries: number;
  readonly #sqMask: number;
  readonly #sqeWords: number;
  readonly #cqes: Int32Array;
  readonly #cqHead: Int32Array;
  readonly #cqTail: Int32Array;
  readonly #cqMask: number;
  /** A word that nobody changes, to wait on. */
  readonly #pause = new Int32Array(new SharedArrayBuffer(4));
  #open = true;

  private constructor(library: Liburing, memory: SharedArea, sqeBytes: number) {
    const ring = IoUring.decode(viewOf(memory.bytes));
    this.#library = library;
    this.#memory = memory;
    this.#pointer = pointerAt(memory.address);
    this.#words = new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset, IoUring.size / 4);
    this.#sqHead = int32At(ring.sqKhead, 1);
    this.#sqEntries = ring.sqRingEntries;
    this.#sqMask = ring.sqRingMask;
    this.#sqeWords = sqeBytes / 4;
    this.sqes = int32At(ring.sqSqes, ring.sqRingEntries * this.#sqeWords);
    this.#cqHead = int32At(ring.cqKhead, 1);
    this.#cqTail = int32At(ring.cqKtail, 1);
    this.#cqMask = ring.cqRingMask;
    this.#cqes = int32At(ring.cqCqes, ring.cqRingEntries * CQE_WORDS);
    this.fd = ring.ringFd;
  }

  /** Sets up a ring for the calling thread; throws a kernel error when io_uring is refused. */
  static open(options: RingOptions, library: Liburing = openLiburing()): Ring {
    const memory = SharedArea.allocate(MEMORY_PAGE_BYTES);
    const base = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
      (options.wideSqes ? IORING_SETUP_SQE128 : 0);
    const fast = IORING_SETUP_SUBMIT_ALL |
      (options.deferTaskRun ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN : 0);
    // Kernels before 6.1 refuse flags that they do not know with EINVAL: do without them then.
    let result = setUp(library, memory, options, base | fast);
    if (result === -EINVAL) result = setUp(library, memory, options, base);
    if (result < 0) memory.release();
    checkResult(result, "set up an io_uring", { entries: options.entries });
    return new Ring(library, memory, options.wideSqes ? 2 * Sqe.size : Sqe.size);
  }

  /**
   * Takes the next SQE and returns its first word's index in {@link sqes}. When all entries are
   * taken, what was prepared is submitted first.
   */
  nextSqe(): number {
    const tail = this.#words[SQE_TAIL];
    if (this.#isFull(tail)) {
      this.submit();
      invariant(!this.#isFull(tail), "submitting frees entries of the submission queue");
    }
    this.#words[SQE_TAIL] = (tail + 1) | 0;
    return (tail & this.#sqMask) * this.#sqeWords;
  }

  #isFull(tail: number): boolean {
    return ((tail - Atomics.load(this.#sqHead, 0)) | 0) >= this.#sqEntries;
  }

  /**
   * Writes the words of an SQE up to its command area, which is cleared (16 bytes of it). Takes
   * offset and address as halves, because a number cannot hold 64 bits and a bigint is garbage.
   */
  prepare(
    opcodeAndFlags: number,
    fd: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    opFlags: number,
    userData: number,
  ): number {
    const at = this.nextSqe();
    const sqes = this.sqes;
    sqes[at + OPCODE] = opcodeAndFlags;
    sqes[at + FD] = fd;
    sqes[at + OFF] = offsetLow;
    sqes[at + OFF + 1] = offsetHigh;
    sqes[at + ADDR] = addressLow;
    sqes[at + ADDR + 1] = addressHigh;
    sqes[at + LEN] = length;
    sqes[at + OP_FLAGS] = opFlags;
    sqes[at + USER_DATA] = userData;
    sqes[at + USER_DATA + 1] = 0;
    sqes[at + BUF_INDEX] = 0;
    sqes[at + SPLICE_FD] = 0;
    sqes[at + SQE_CMD_WORD] = 0;
    sqes[at + SQE_CMD_WORD + 1] = 0;
    sqes[at + SQE_CMD_WORD + 2] = 0;
    sqes[at + SQE_CMD_WORD + 3] = 0;
    return at;
  }

  /** Hands what was prepared to the kernel without waiting: number of SQEs taken, or -errno. */
  submit(): number {
    let taken = this.#library.io_uring_submit(this.#pointer);
    for (let tries = 1; isPassingRefusal(taken) && tries < SUBMIT_TRIES; tries++) {
      this.pauseAfter(taken);
      taken = this.#library.io_uring_submit(this.#pointer);
    }
    return taken;
  }

  /**
   * Submits and waits until `count` completions are there: number of SQEs taken, or -errno. After a passing
   * refusal the caller takes what has completed before it tries again.
   */
  submitAndWait(count: number): number {
    return this.#library.io_uring_submit_and_wait(this.#pointer, count);
  }

  /** After a passing refusal: a kernel without memory is not asked again without a pause. */
  pauseAfter(taken: number): void {
    if (taken !== -EINTR) Atomics.wait(this.#pause, 0, 0, REFUSED_MS);
    this.poll();
  }

  /** Lets the kernel post what has completed, without waiting; 0 or -errno. */
  poll(): number {
    return this.#library.io_uring_get_events(this.#pointer);
  }

  /** Calls `sink.onCqe` for each completion that is there and returns how many there were. */
  forEachCqe(sink: CqeSink): number {
    const cqes = this.#cqes;
    const mask = this.#cqMask;
    const start = this.#cqHead[0];
    const tail = Atomics.load(this.#cqTail, 0);
    let head = start;
    while (head !== tail) {
      const at = (head & mask) * CQE_WORDS;
      const userData = cqes[at + CQE_USER_DATA];
      const res = cqes[at + CQE_RES];
      head = (head + 1) | 0;
      sink.onCqe(userData, res);
    }
    Atomics.store(this.#cqHead, 0, head);
    return (head - start) | 0;
  }

  /** Closes the ring; operations in flight are cancelled by the kernel. Safe to call twice. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#library.io_uring_queue_exit(this.#pointer);
    this.#memory.release();
  }
}

function setUp(
  library: Liburing,
  memory: SharedArea,
  options: RingOptions,
  flags: number,
): number {
  const params = new Uint8Array(IoUringParams.size);
  const view = viewOf(params);
  view.setUint32(IoUringParams.offset.flags, flags, true);
  view.setUint32(IoUringParams.offset.cqEntries, options.completionEntries, true);
  memory.bytes.fill(0);
  return library.io_uring_queue_init_params(options.entries, memory.bytes, params);
}

/** A relative time as `struct __kernel_timespec`, for IORING_OP_TIMEOUT. */
export function writeTimespec(area: SharedArea, ms: number): void {
  const words = new Int32Array(area.bytes.buffer, area.bytes.byteOffset, 4);
  const seconds = BigInt(Math.floor(ms / 1000));
  words[0] = low32(seconds);
  words[1] = high32(seconds);
  words[2] = Math.round((ms % 1000) * 1_000_000);
  words[3] = 0;
}
