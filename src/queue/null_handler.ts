// The null target: every request succeeds at once and nothing is stored. Reads return whatever the
// tag's buffer held last. The baseline of the ublk side in benchmarks.

import { SECTOR } from "../base/units.ts";
import { UBLK_IO_OP_READ, UBLK_IO_OP_WRITE } from "../ublk/uapi.ts";
import type { RequestHandler } from "./handler.ts";
import { countRequest } from "./request_counters.ts";
import type { TargetQueue } from "./target_queue.ts";

export class NullHandler implements RequestHandler {
  readonly parked = 0;
  readonly #queue: TargetQueue;
  readonly #counters: Float64Array;

  constructor(queue: TargetQueue, counters: Float64Array) {
    this.#queue = queue;
    this.#counters = counters;
  }

  start(tag: number): void {
    const queue = this.#queue;
    const op = queue.op(tag);
    const bytes = queue.sectors(tag) * SECTOR;
    countRequest(this.#counters, op, bytes);
    queue.finish(tag, op === UBLK_IO_OP_READ || op === UBLK_IO_OP_WRITE ? bytes : 0);
  }

  complete(): void {}

  wake(): void {}
}
