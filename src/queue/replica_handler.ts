// The io-replica target: what one queue does with a request.
//
//   READ, FLUSH    primary, then acknowledge
//   WRITE          lock -> primary -> capture -> unlock -> acknowledge
//   DISCARD, ZERO  lock -> zero the primary -> capture -> unlock -> acknowledge
//
// Invariants:
// 1. R1: a request is captured - it takes its place in the pool - after the primary succeeded and
//    before it is acknowledged. FLUSH and FUA reach the primary's stable storage before they are.
// 2. R2: from before its submission to the primary until after its capture a request holds the
//    interval lock on every replica block that it touches. So the order of overlapping writes in
//    the pool is their order on the primary, and reading blocks back meanwhile gives exactly what
//    this request left there.
// 3. The pool only ever holds whole replica blocks. What a request covers in part is read back from
//    the primary under the lock; so is what a failed request may have changed: capture follows the
//    primary's bytes, never the guest's hopes.
// 4. A tag is in one place: with the kernel, in flight on the primary, or in one of the two Waiters.
//
// Hot path: no allocation, no await, no exception, no system call of its own.

import { EOPNOTSUPP } from "../../ffi/errno.ts";
import { hitNow } from "../base/failpoints.ts";
import { SECTOR } from "../base/units.ts";
import { QUEUE_COUNTER as COUNTER, queueCounters } from "../shared/counters.ts";
import { ringIfAsleep, ringReplicator } from "../shared/bell.ts";
import type { Doorbells } from "../shared/doorbells.ts";
import { IntervalLock } from "../shared/interval_lock.ts";
import { QUEUE_WORD, queueWord, type SharedViews, WORD } from "../shared/layout.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_F_NOUNMAP,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../ublk/uapi.ts";
import { Capture, HEAD_EDGE, TAIL_EDGE } from "./capture.ts";
import type { RequestHandler } from "./handler.ts";
import { countRequest, countResult } from "./request_counters.ts";
import type { TargetQueue } from "./target_queue.ts";
import { Waiters } from "./waiters.ts";

// Stages of a tag: which of its I/Os on the primary has completed.
const STAGE_READ = 1;
const STAGE_FLUSH = 2;
const STAGE_CHANGE = 3;
const STAGE_READ_BACK = 4;
const STAGE_EDGE = 5;

/** What the handler uses of its TargetQueue; the model test stands in for it. */
export type RequestQueue = Pick<
  TargetQueue,
  | "op"
  | "flags"
  | "locate"
  | "offsetBytes"
  | "sectors"
  | "finish"
  | "readPrimary"
  | "writePrimary"
  | "flushPrimary"
  | "zeroPrimary"
>;

export interface ReplicaHandlerOptions {
  readonly qid: number;
  readonly queue: RequestQueue;
  readonly views: SharedViews;
  readonly doorbells: Doorbells;
  /** A full pool holds writes back (`--congestion block`) instead of leaving them to resync. */
  readonly waitsForRoom: boolean;
}

export class ReplicaHandler implements RequestHandler {
  readonly #qid: number;
  readonly #queue: RequestQueue;
  readonly #words: Int32Array;
  readonly #counters: Float64Array;
  readonly #doorbells: Doorbells;
  readonly #capture: Capture;
  readonly #lock: IntervalLock;
  readonly #queues: number;
  readonly #unitBytes: number;
  readonly #strideBytes: number;
  readonly #lockWaiters: Waiters;
  readonly #poolWaiters: Waiters;

  // Per tag. Blocks are doubles: a device may have more than 2^31 of them.
  readonly #op: Int32Array;
  /** Result to acknowledge with. */
  readonly #result: Int32Array;
  readonly #edgesPending: Int32Array;
  readonly #edgeFailed: Int32Array;
  /** The whole blocks that the request touches: what is locked and captured. */
  readonly #firstBlock: Float64Array;
  readonly #blockCount: Float64Array;
  /** First block that is not captured yet. */
  readonly #cursor: Float64Array;

  constructor(options: ReplicaHandlerOptions) {
    const { qid, queue, views, doorbells } = options;
    const { depth, queues, unitBytes, tagStrideBytes } = views.layout;
    this.#qid = qid;
    this.#queue = queue;
    this.#words = views.words;
    this.#counters = views.counters.subarray(queueCounters(qid));
    this.#doorbells = doorbells;
    this.#capture = new Capture(views, qid, options.waitsForRoom);
    this.#lock = new IntervalLock(views);
    this.#queues = queues;
    this.#unitBytes = unitBytes;
    this.#strideBytes = tagStrideBytes;
    const own = queueWord(qid);
    this.#lockWaiters = new Waiters(views.words, {
      allWord: WORD.lockWaiters,
      ownWord: own + QUEUE_WORD.lockWaiters,
      depth,
    });
    this.#poolWaiters = new Waiters(views.words, {
      allWord: WORD.poolWaiters,
      ownWord: own + QUEUE_WORD.poolWaiters,
      depth,
    });
    this.#op = new Int32Array(depth);
    this.#result = new Int32Array(depth);
    this.#edgesPending = new Int32Array(depth);
    this.#edgeFailed = new Int32Array(depth);
    this.#firstBlock = new Float64Array(depth);
    this.#blockCount = new Float64Array(depth);
    this.#cursor = new Float64Array(depth);
  }

  get parked(): number {
    return this.#lockWaiters.count + this.#poolWaiters.count;
  }

  /** A new request for `tag` stands in the queue's descriptors. */
  start(tag: number): void {
    const queue = this.#queue;
    const op = queue.op(tag);
    const bytes = queue.sectors(tag) * SECTOR;
    this.#op[tag] = op;
    countRequest(this.#counters, op, bytes);
    switch (op) {
      case UBLK_IO_OP_READ:
        queue.locate(tag);
        queue.readPrimary(tag, STAGE_READ, 0, bytes);
        return;
      case UBLK_IO_OP_FLUSH:
        queue.flushPrimary(tag, STAGE_FLUSH);
        return;
      case UBLK_IO_OP_WRITE:
      case UBLK_IO_OP_DISCARD:
      case UBLK_IO_OP_WRITE_ZEROES:
        this.#begin(tag, bytes);
        return;
      default:
        this.#acknowledge(tag, -EOPNOTSUPP);
    }
  }

  /** An I/O on the primary that this handler submitted for `tag` has completed with `res`. */
  complete(tag: number, stage: number, res: number): void {
    switch (stage) {
      case STAGE_READ:
        this.#acknowledge(tag, res);
        return;
      case STAGE_FLUSH:
        if (res >= 0) Atomics.add(this.#words, WORD.guestFlushes, 1);
        this.#acknowledge(tag, res);
        return;
      case STAGE_CHANGE:
        this.#changed(tag, res);
        return;
      case STAGE_EDGE:
        if (res < 0) this.#edgeFailed[tag] = 1;
        if (--this.#edgesPending[tag] > 0) return;
        if (this.#edgeFailed[tag] !== 0) this.#readBack(tag);
        else this.#toPool(tag);
        return;
      default:
        // Blocks that the primary cannot read have no content that a replica could miss.
        if (res < 0) this.#captured(tag);
        else this.#toPool(tag);
    }
  }

  /** The doorbell rang: another room made room in the pool or released a lock. */
  wake(): void {
    this.#doorbells.heard(this.#qid);
    this.#retryPool();
    this.#retryLocks();
  }

  // ---- lock ----

  #begin(tag: number, bytes: number): void {
    const queue = this.#queue;
    queue.locate(tag);
    const start = queue.offsetBytes[tag];
    const first = Math.floor(start / this.#unitBytes);
    const end = Math.ceil((start + bytes) / this.#unitBytes);
    this.#firstBlock[tag] = first;
    this.#blockCount[tag] = end - first;
    this.#cursor[tag] = first;
    if (this.#lock.tryLock(first, end - first)) {
      this.#submit(tag);
      return;
    }
    this.#counters[COUNTER.lockWaits]++;
    this.#lockWaiters.park(tag);
    this.#retryLocks();
  }

  /** Submits every parked request that can have its lock now. */
  #retryLocks(): void {
    const waiters = this.#lockWaiters;
    for (let left = waiters.count; left > 0; left--) {
      const tag = waiters.front();
      if (this.#lock.tryLock(this.#firstBlock[tag], this.#blockCount[tag])) {
        waiters.unpark();
        this.#submit(tag);
      } else {
        waiters.rotate();
      }
    }
  }

  #unlock(tag: number): void {
    this.#lock.unlock(this.#firstBlock[tag], this.#blockCount[tag]);
    if (Atomics.load(this.#words, WORD.lockWaiters) === 0) return;
    if (this.#lockWaiters.count > 0) this.#retryLocks();
    for (let qid = 0; qid < this.#queues; qid++) {
      if (qid === this.#qid) continue;
      const word = queueWord(qid) + QUEUE_WORD.lockWaiters;
      if (Atomics.load(this.#words, word) > 0) this.#doorbells.ring(qid);
    }
  }

  // ---- primary ----

  #submit(tag: number): void {
    hitNow("queue.before-primary");
    const queue = this.#queue;
    const bytes = queue.sectors(tag) * SECTOR;
    const flags = queue.flags(tag);
    if (this.#op[tag] === UBLK_IO_OP_WRITE) {
      const durable = (flags & UBLK_IO_F_FUA) !== 0;
      queue.writePrimary(tag, STAGE_CHANGE, bytes, durable);
    } else {
      const keep = (flags & UBLK_IO_F_NOUNMAP) !== 0;
      queue.zeroPrimary(tag, STAGE_CHANGE, bytes, keep);
    }
  }

  /** The primary has answered a write or a zeroing: settle what goes to the pool. */
  #changed(tag: number, res: number): void {
    hitNow("queue.after-primary");
    this.#result[tag] = res;
    const unit = this.#unitBytes;
    const first = this.#firstBlock[tag];
    const count = this.#blockCount[tag];
    if (!this.#capture.wants(first, count)) {
      this.#counters[COUNTER.marked]++;
      this.#done(tag);
      return;
    }
    const queue = this.#queue;
    // Still where the request begins: it has had no other I/O.
    const start = queue.offsetBytes[tag];
    const end = start + queue.sectors(tag) * SECTOR;
    const edges = (start % unit !== 0 ? HEAD_EDGE : 0) | (end % unit !== 0 ? TAIL_EDGE : 0);
    if (res < 0) {
      this.#readBack(tag);
    } else if (this.#op[tag] === UBLK_IO_OP_WRITE) {
      if (edges !== 0) {
        this.#readBack(tag);
        return;
      }
      this.#capture.fromBuffer(tag, first, count);
      this.#toPool(tag);
    } else if (edges !== 0 && count <= 2) {
      this.#readBack(tag);
    } else {
      this.#capture.zeros(tag, first, count, edges);
      if (edges === 0) this.#toPool(tag);
      else this.#readEdges(tag, edges);
    }
  }

  /** Reads as many blocks from the cursor on as the buffer holds. */
  #readBack(tag: number): void {
    const cursor = this.#cursor[tag];
    const left = this.#firstBlock[tag] + this.#blockCount[tag] - cursor;
    const blocks = Math.min(left, Math.floor(this.#strideBytes / this.#unitBytes));
    this.#capture.fromBuffer(tag, cursor, blocks);
    this.#counters[COUNTER.readBacks]++;
    this.#queue.offsetBytes[tag] = cursor * this.#unitBytes;
    this.#queue.readPrimary(tag, STAGE_READ_BACK, 0, blocks * this.#unitBytes);
  }

  /** Reads the first and the last block, where the zeroing covers them in part. */
  #readEdges(tag: number, edges: number): void {
    const unit = this.#unitBytes;
    const first = this.#firstBlock[tag];
    this.#edgeFailed[tag] = 0;
    this.#edgesPending[tag] = edges === (HEAD_EDGE | TAIL_EDGE) ? 2 : 1;
    this.#counters[COUNTER.readBacks]++;
    const queue = this.#queue;
    if ((edges & HEAD_EDGE) !== 0) {
      queue.offsetBytes[tag] = first * unit;
      queue.readPrimary(tag, STAGE_EDGE, 0, unit);
    }
    if ((edges & TAIL_EDGE) !== 0) {
      queue.offsetBytes[tag] = (first + this.#blockCount[tag] - 1) * unit;
      queue.readPrimary(tag, STAGE_EDGE, unit, unit);
    }
  }

  // ---- pool ----

  /** Puts what stands ready for `tag` into the pool, or parks it until the pool has room. */
  #toPool(tag: number): void {
    if (this.#poolWaiters.count === 0 && this.#place(tag)) return;
    this.#counters[COUNTER.poolWaits]++;
    this.#poolWaiters.park(tag);
    this.#retryPool();
    if (this.#poolWaiters.count > 0) ringReplicator(this.#words);
  }

  /** In the order in which they came, so that a large request is not overtaken for ever. */
  #retryPool(): void {
    const waiters = this.#poolWaiters;
    while (waiters.count > 0) {
      const tag = waiters.front();
      const entries = this.#capture.place(tag);
      if (entries < 0) return;
      waiters.unpark();
      this.#placed(tag, entries);
    }
  }

  #place(tag: number): boolean {
    const entries = this.#capture.place(tag);
    if (entries < 0) return false;
    this.#placed(tag, entries);
    return true;
  }

  #placed(tag: number, entries: number): void {
    if (entries > 0) this.#counters[COUNTER.captured] += entries;
    else this.#counters[COUNTER.marked]++;
    ringIfAsleep(this.#words);
    this.#captured(tag);
  }

  /** The blocks that stood ready are dealt with: go on with the rest, or finish. */
  #captured(tag: number): void {
    const cursor = this.#capture.end(tag);
    this.#cursor[tag] = cursor;
    if (cursor < this.#firstBlock[tag] + this.#blockCount[tag]) this.#readBack(tag);
    else this.#done(tag);
  }

  #done(tag: number): void {
    hitNow("queue.after-capture");
    this.#unlock(tag);
    this.#acknowledge(tag, this.#result[tag]);
  }

  #acknowledge(tag: number, result: number): void {
    countResult(this.#counters, result);
    this.#queue.finish(tag, result);
  }
}
