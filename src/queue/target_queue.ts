// What a request handler has to do with: the requests of its queue's tags, I/O on the primary for
// them, and the answer. Owns: the table of I/Os in flight on the primary.
//
// Invariants:
// - an I/O takes a slot when it is prepared and frees it before the handler hears of it, so a handler
//   may prepare the next one from complete();
// - a short read or write is continued here; what makes no progress is an -EIO;
// - offsets are doubles (exact up to 2^53) that are cut into halves only when an SQE is written, and
//   that never are a parameter or a result: a number beyond 31 bits that passes from function to
//   function becomes an object of the heap, unless V8 happens to inline the call;
// - I/O path: no allocation, no bigint, no exception.

import { EIO, EOPNOTSUPP } from "../../ffi/errno.ts";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../../ffi/libc.ts";
import { high32, low32 } from "../../ffi/memory.ts";
import { invariant } from "../base/assert.ts";
import { SECTOR } from "../base/units.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import type { UblkQueue } from "../ublk/queue.ts";
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_WRITE,
  type Ring,
  RWF_DSYNC,
} from "../ublk/ring.ts";
import { UBLK_IO_OP_MASK } from "../ublk/uapi.ts";
import type { RequestHandler } from "./handler.ts";
import { KIND_COMMAND, KIND_TARGET_IO, userData } from "./tag.ts";

const TWO_32 = 2 ** 32;
/** I/Os that one tag may have in flight at once. */
const SLOTS_PER_TAG = 2;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const ZERO = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

/** The part of a ublk queue that is used here: tests stand in for the driver. */
export type RequestSource = Pick<
  UblkQueue,
  | "depth"
  | "opFlags"
  | "sectorCount"
  | "startSectorLow"
  | "startSectorHigh"
  | "bufferLow"
  | "bufferHigh"
  | "commit"
>;

export interface TargetQueueOptions {
  readonly ring: Ring;
  readonly queue: RequestSource;
  /** The open primary, or -1 for a target that has none. */
  readonly primaryFd: number;
  /** Where the pages of the dirty map are kept ready, for a target that has one. */
  readonly stagingAddress?: bigint;
}

export class TargetQueue {
  /** Where on the primary the next I/O of each tag begins: set before readPrimary() and the like. */
  readonly offsetBytes: Float64Array;
  readonly #ring: Ring;
  readonly #queue: RequestSource;
  readonly #fd: number;
  readonly #stagingLow: number;
  readonly #stagingHigh: number;

  // Per slot: one I/O on the primary.
  readonly #slotTag: Int32Array;
  readonly #slotStage: Int32Array;
  readonly #slotOpcode: Int32Array;
  /** RWF_* of a write; the FALLOC_FL_* mode of a zeroing. */
  readonly #slotFlags: Int32Array;
  readonly #slotOffset: Float64Array;
  /** Whether the I/O's bytes stand in the tag's buffer or among the staged pages. */
  readonly #slotStaged: Int32Array;
  /** Where they stand there. */
  readonly #slotSkip: Int32Array;
  readonly #slotLength: Int32Array;
  readonly #slotDone: Int32Array;
  readonly #freeSlots: Int32Array;
  #freeCount: number;

  /** Cleared when the primary turns out not to support a way of zeroing. */
  #canPunch = true;
  #canZeroRange = true;

  constructor(options: TargetQueueOptions) {
    this.#ring = options.ring;
    this.#queue = options.queue;
    this.#fd = options.primaryFd;
    this.#stagingLow = low32(options.stagingAddress ?? 0n);
    this.#stagingHigh = high32(options.stagingAddress ?? 0n);
    this.offsetBytes = new Float64Array(options.queue.depth);
    const slots = options.queue.depth * SLOTS_PER_TAG;
    this.#slotTag = new Int32Array(slots);
    this.#slotStage = new Int32Array(slots);
    this.#slotOpcode = new Int32Array(slots);
    this.#slotFlags = new Int32Array(slots);
    this.#slotOffset = new Float64Array(slots);
    this.#slotStaged = new Int32Array(slots);
    this.#slotSkip = new Int32Array(slots);
    this.#slotLength = new Int32Array(slots);
    this.#slotDone = new Int32Array(slots);
    this.#freeSlots = Int32Array.from({ length: slots }, (_, slot) => slots - 1 - slot);
    this.#freeCount = slots;
  }

  // ---- the request ----

  /** UBLK_IO_OP_* of the tag's request. */
  op(tag: number): number {
    return this.#queue.opFlags(tag) & UBLK_IO_OP_MASK;
  }

  /** UBLK_IO_F_* of the tag's request. */
  flags(tag: number): number {
    return this.#queue.opFlags(tag);
  }

  sectors(tag: number): number {
    return this.#queue.sectorCount(tag);
  }

  /** Sets the tag's offset to where its request begins. */
  locate(tag: number): void {
    const queue = this.#queue;
    const sector = queue.startSectorHigh(tag) * TWO_32 + (queue.startSectorLow(tag) >>> 0);
    this.offsetBytes[tag] = sector * SECTOR;
  }

  /** Answers the tag's request: bytes done (0 where there are none to count), or -errno. */
  finish(tag: number, result: number): void {
    this.#queue.commit(tag, result, userData(KIND_COMMAND, tag));
  }

  // ---- I/O on the primary ----

  /** I/Os on the primary that have not completed. */
  get inFlight(): number {
    return this.#slotTag.length - this.#freeCount;
  }

  /** Reads from the tag's offset into its buffer, `skipBytes` from its start. */
  readPrimary(tag: number, stage: number, skipBytes: number, lengthBytes: number): void {
    const slot = this.#takeSlot(tag, stage, IORING_OP_READ, 0);
    this.#slotOffset[slot] = this.offsetBytes[tag];
    this.#slotSkip[slot] = skipBytes;
    this.#slotLength[slot] = lengthBytes;
    this.#submitTransfer(slot);
  }

  /**
   * Writes the tag's buffer from its start to the tag's offset; `durable`: on stable storage before
   * it completes.
   */
  writePrimary(tag: number, stage: number, lengthBytes: number, durable: boolean): void {
    const slot = this.#takeSlot(tag, stage, IORING_OP_WRITE, durable ? RWF_DSYNC : 0);
    this.#slotOffset[slot] = this.offsetBytes[tag];
    this.#slotSkip[slot] = 0;
    this.#slotLength[slot] = lengthBytes;
    this.#submitTransfer(slot);
  }

  /** Writes staged page `page` of the dirty map to the tag's offset, onto stable storage. */
  writePage(tag: number, stage: number, page: number): void {
    const slot = this.#takeSlot(tag, stage, IORING_OP_WRITE, RWF_DSYNC);
    this.#slotOffset[slot] = this.offsetBytes[tag];
    this.#slotStaged[slot] = 1;
    this.#slotSkip[slot] = page * PAGE_BYTES;
    this.#slotLength[slot] = PAGE_BYTES;
    this.#submitTransfer(slot);
  }

  /** Brings everything that completed before to stable storage. */
  flushPrimary(tag: number, stage: number): void {
    const slot = this.#takeSlot(tag, stage, IORING_OP_FSYNC, 0);
    const data = userData(KIND_TARGET_IO, slot);
    this.#ring.prepare(IORING_OP_FSYNC, this.#fd, 0, 0, 0, 0, 0, IORING_FSYNC_DATASYNC, data);
  }

  /**
   * Makes a range from the tag's offset on read as zeros. `keepAllocated`: without giving up its
   * space, where the primary can tell the difference. Completes with -EOPNOTSUPP when the primary knows no way at all.
   */
  zeroPrimary(tag: number, stage: number, lengthBytes: number, keepAllocated: boolean): void {
    const slot = this.#takeSlot(tag, stage, IORING_OP_FALLOCATE, this.#zeroMode(keepAllocated));
    this.#slotOffset[slot] = this.offsetBytes[tag];
    this.#slotLength[slot] = lengthBytes;
    this.#submitZero(slot);
  }

  /** The loop's: an I/O of ours has completed. Tells the handler once it is complete as a whole. */
  completed(slot: number, res: number, handler: RequestHandler): void {
    const opcode = this.#slotOpcode[slot];
    let result = res;
    if (opcode === IORING_OP_FALLOCATE) {
      if (res === -EOPNOTSUPP && this.#zeroOtherwise(slot)) return;
    } else if (opcode !== IORING_OP_FSYNC && res >= 0) {
      const done = this.#slotDone[slot] + res;
      if (done < this.#slotLength[slot] && res > 0) {
        this.#slotDone[slot] = done;
        this.#submitTransfer(slot);
        return;
      }
      result = done === this.#slotLength[slot] ? done : -EIO;
    }
    this.#freeSlots[this.#freeCount++] = slot;
    handler.complete(this.#slotTag[slot], this.#slotStage[slot], result);
  }

  #takeSlot(tag: number, stage: number, opcode: number, flags: number): number {
    invariant(this.#freeCount > 0, "a tag has at most two I/Os in flight");
    const slot = this.#freeSlots[--this.#freeCount];
    this.#slotTag[slot] = tag;
    this.#slotStage[slot] = stage;
    this.#slotOpcode[slot] = opcode;
    this.#slotFlags[slot] = flags;
    this.#slotStaged[slot] = 0;
    this.#slotDone[slot] = 0;
    return slot;
  }

  #submitTransfer(slot: number): void {
    const tag = this.#slotTag[slot];
    const done = this.#slotDone[slot];
    const offset = this.#slotOffset[slot] + done;
    const skip = this.#slotSkip[slot] + done;
    const staged = this.#slotStaged[slot] !== 0;
    const addressLow = staged ? this.#stagingLow : this.#queue.bufferLow(tag);
    const addressHigh = staged ? this.#stagingHigh : this.#queue.bufferHigh(tag);
    const low = (addressLow + skip) | 0;
    // A buffer may lie across a 4 GiB border of the address space.
    const carry = (low >>> 0) < (addressLow >>> 0) ? 1 : 0;
    this.#ring.prepare(
      this.#slotOpcode[slot],
      this.#fd,
      offset | 0,
      Math.floor(offset / TWO_32),
      low,
      (addressHigh + carry) | 0,
      this.#slotLength[slot] - done,
      this.#slotFlags[slot],
      userData(KIND_TARGET_IO, slot),
    );
  }

  #submitZero(slot: number): void {
    const offset = this.#slotOffset[slot];
    this.#ring.prepare(
      IORING_OP_FALLOCATE,
      this.#fd,
      offset | 0,
      Math.floor(offset / TWO_32),
      this.#slotLength[slot],
      0,
      this.#slotFlags[slot],
      0,
      userData(KIND_TARGET_IO, slot),
    );
  }

  #zeroMode(keepAllocated: boolean): number {
    if (keepAllocated) return this.#canZeroRange ? ZERO : PUNCH;
    return this.#canPunch ? PUNCH : ZERO;
  }

  /** The primary refused this way of zeroing: never again; true when the other way is on its way. */
  #zeroOtherwise(slot: number): boolean {
    if (this.#slotFlags[slot] === PUNCH) this.#canPunch = false;
    else this.#canZeroRange = false;
    if (!this.#canPunch && !this.#canZeroRange) return false;
    this.#slotFlags[slot] = this.#canPunch ? PUNCH : ZERO;
    this.#submitZero(slot);
    return true;
  }
}
