// The io-replica target: what one queue does with a request.
//
//   READ, FLUSH    primary, then acknowledge
//   WRITE          lock -> gate -> primary -> capture -> unlock -> acknowledge
//   DISCARD, ZERO  lock -> gate -> zero the primary -> capture -> unlock -> acknowledge
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
//    primary's bytes, never the guest's hopes. What can't be read back is left to resync.
// 4. R4: nothing changes the primary before the gate has seen its regions in the primary's dirty map
//    (intent_gate.ts). From there until its capture the change is counted.
// 5. A tag is in one place: with the kernel, in flight on the primary, or in one of the three Waiters.
//    Only a tag that waits at the gate may have an I/O in flight besides: a page of the map.
//
// Hot path: no allocation, no await, no exception, no system call of its own.

import { EIO, EOPNOTSUPP } from "../../ffi/errno.ts";
import { hitNow } from "../base/failpoints.ts";
import { SECTOR } from "../base/units.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import { QUEUE_COUNTER as COUNTER, queueCounters } from "../shared/counters.ts";
import { ringIfAsleep, ringReplicator } from "../shared/bell.ts";
import type { Doorbells } from "../shared/doorbells.ts";
import { noteFailedFlush, takeUntoldFlush } from "../shared/failed_flush.ts";
import { type SharedViews, WORD } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_F_NOUNMAP,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../ublk/uapi.ts";
import { BlockLocks } from "./block_locks.ts";
import { Capture, HEAD_EDGE, TAIL_EDGE } from "./capture.ts";
import type { RequestHandler } from "./handler.ts";
import { IntentGate } from "./intent_gate.ts";
import { countRequest, countResult } from "./request_counters.ts";
import type { RequestQueue } from "./request_queue.ts";
import { Waiters } from "./waiters.ts";

// Stages of a tag: which of its I/Os on the primary has completed.
const STAGE_READ = 1;
const STAGE_FLUSH = 2;
const STAGE_CHANGE = 3;
const STAGE_READ_BACK = 4;
const STAGE_EDGE = 5;
const STAGE_INTENT = 6;

export interface ReplicaHandlerOptions {
  readonly qid: number;
  readonly queue: RequestQueue;
  readonly views: SharedViews;
  readonly doorbells: Doorbells;
  /** A full pool holds writes back (`--congestion block`) instead of leaving them to resync. */
  readonly waitsForRoom: boolean;
  /** Where the dirty map lies; null: all of it was set at the start and stays so. */
  readonly dirtyMap: MapPlace | null;
}

export class ReplicaHandler implements RequestHandler {
  readonly #qid: number;
  readonly #queue: RequestQueue;
  readonly #words: Int32Array;
  readonly #counters: Float64Array;
  readonly #doorbells: Doorbells;
  readonly #capture: Capture;
  readonly #locks: BlockLocks;
  readonly #gate: IntentGate;
  readonly #unitBytes: number;
  readonly #regions: RegionGrid;
  readonly #strideBytes: number;
  readonly #poolWaiters: Waiters;

  // Per tag. Blocks are doubles: a device may have more than 2^31 of them.
  readonly #op: Int32Array;
  /** Result to acknowledge with. */
  readonly #result: Int32Array;
  readonly #edgesPending: Int32Array;
  readonly #edgeFailed: Int32Array;
  /** The whole blocks that the request touches: what is locked (BlockLocks) and captured. */
  readonly #firstBlock: Float64Array;
  readonly #blockCount: Float64Array;
  /** First block that is not captured yet. */
  readonly #cursor: Float64Array;

  constructor(options: ReplicaHandlerOptions) {
    const { qid, queue, views, doorbells } = options;
    const { depth, unitBytes, tagStrideBytes } = views.layout;
    this.#qid = qid;
    this.#queue = queue;
    this.#words = views.words;
    this.#counters = views.counters.subarray(queueCounters(qid));
    this.#doorbells = doorbells;
    this.#capture = new Capture(views, qid, options.waitsForRoom);
    this.#locks = new BlockLocks(views, qid, doorbells);
    this.#gate = new IntentGate({ ...options, stage: STAGE_INTENT });
    this.#unitBytes = unitBytes;
    this.#regions = new RegionGrid(views.layout);
    this.#strideBytes = tagStrideBytes;
    this.#poolWaiters = new Waiters(views, qid, "poolWaiters");
    this.#op = new Int32Array(depth);
    this.#result = new Int32Array(depth);
    this.#edgesPending = new Int32Array(depth);
    this.#edgeFailed = new Int32Array(depth);
    this.#firstBlock = this.#locks.first;
    this.#blockCount = this.#locks.count;
    this.#cursor = new Float64Array(depth);
  }

  get parked(): number {
    return this.#locks.waiting + this.#gate.waiting + this.#poolWaiters.count;
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
        this.#flushed(tag, res);
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
      case STAGE_INTENT:
        this.#gate.written(tag, res);
        this.#retryGate();
        return;
      default:
        if (res >= 0) {
          this.#toPool(tag);
          return;
        }
        // One block may have failed the read of many: resync reads them one by one, and again.
        this.#capture.leave(tag);
        this.#placed(tag, 0);
    }
  }

  /** The doorbell rang: another room made room in the pool, released a lock or wrote a page. */
  wake(): void {
    this.#doorbells.heard(this.#qid);
    this.#retryPool();
    this.#retryLocks();
    this.#retryGate();
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
    if (this.#locks.take(tag)) {
      this.#toGate(tag);
      return;
    }
    this.#counters[COUNTER.lockWaits]++;
    this.#retryLocks();
  }

  /** Lets every parked request go on that can have its lock now. */
  #retryLocks(): void {
    for (let left = this.#locks.waiting; left > 0; left--) {
      const tag = this.#locks.retryFront();
      if (tag >= 0) this.#toGate(tag);
    }
  }

  #unlock(tag: number): void {
    this.#locks.release(tag);
    if (this.#locks.waiting > 0) this.#retryLocks();
  }

  // ---- gate ----

  #toGate(tag: number): void {
    const first = this.#firstBlock[tag];
    const last = first + this.#blockCount[tag] - 1;
    const regions = this.#regions;
    if (this.#gate.pass(tag, regions.firstRegion(first), regions.lastRegion(last))) {
      this.#submit(tag);
    }
  }

  #retryGate(): void {
    const gate = this.#gate;
    for (let left = gate.waiting; left > 0; left--) {
      const tag = gate.retryFront();
      if (tag < 0) continue;
      if (gate.verdict === 0) {
        // It may have written a page meanwhile.
        this.#queue.locate(tag);
        this.#submit(tag);
      } else {
        this.#unlock(tag);
        this.#acknowledge(tag, gate.verdict);
      }
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

  #flushed(tag: number, res: number): void {
    const words = this.#words;
    if (res < 0) noteFailedFlush(words);
    else Atomics.add(words, WORD.guestFlushes, 1);
    this.#acknowledge(tag, takeUntoldFlush(words) ? -EIO : res);
  }

  /** The primary has answered a write or a zeroing: settle what goes to the pool. */
  #changed(tag: number, res: number): void {
    hitNow("queue.after-primary");
    this.#result[tag] = res;
    if (res < 0 && (this.#queue.flags(tag) & UBLK_IO_F_FUA) !== 0) noteFailedFlush(this.#words);
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
    this.#gate.leave(tag);
    this.#unlock(tag);
    this.#acknowledge(tag, this.#result[tag]);
  }

  #acknowledge(tag: number, result: number): void {
    countResult(this.#counters, result);
    this.#queue.finish(tag, result);
  }
}
