// The loop target: every request goes to one block device or file, and nowhere else. The baseline of
// what a queue costs in front of a drive.

import { EOPNOTSUPP } from "../../ffi/errno.ts";
import { SECTOR } from "../base/units.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_F_NOUNMAP,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../ublk/uapi.ts";
import type { RequestHandler } from "./handler.ts";
import { countRequest, countResult } from "./request_counters.ts";
import type { TargetQueue } from "./target_queue.ts";

/** The only stage: one I/O per request. */
const STAGE_IO = 1;

export class LoopHandler implements RequestHandler {
  readonly parked = 0;
  readonly #queue: TargetQueue;
  readonly #counters: Float64Array;

  constructor(queue: TargetQueue, counters: Float64Array) {
    this.#queue = queue;
    this.#counters = counters;
  }

  start(tag: number): void {
    const queue = this.#queue;
    const flags = queue.flags(tag);
    const bytes = queue.sectors(tag) * SECTOR;
    const op = queue.op(tag);
    countRequest(this.#counters, op, bytes);
    queue.locate(tag);
    switch (op) {
      case UBLK_IO_OP_READ:
        queue.readPrimary(tag, STAGE_IO, 0, bytes);
        return;
      case UBLK_IO_OP_WRITE:
        queue.writePrimary(tag, STAGE_IO, bytes, (flags & UBLK_IO_F_FUA) !== 0);
        return;
      case UBLK_IO_OP_FLUSH:
        queue.flushPrimary(tag, STAGE_IO);
        return;
      case UBLK_IO_OP_DISCARD:
      case UBLK_IO_OP_WRITE_ZEROES:
        queue.zeroPrimary(tag, STAGE_IO, bytes, (flags & UBLK_IO_F_NOUNMAP) !== 0);
        return;
      default:
        this.#answer(tag, -EOPNOTSUPP);
    }
  }

  complete(tag: number, _stage: number, res: number): void {
    this.#answer(tag, res);
  }

  #answer(tag: number, result: number): void {
    countResult(this.#counters, result);
    this.#queue.finish(tag, result);
  }

  wake(): void {}
}
