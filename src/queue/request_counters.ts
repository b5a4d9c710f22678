// Counts requests by operation in a queue's row of shared counters (shared/counters.ts).

import { QUEUE_COUNTER as COUNTER } from "../shared/counters.ts";
import {
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../ublk/uapi.ts";

/** Counts a request that has just started. `row` is written by one queue only. */
export function countRequest(row: Float64Array, op: number, bytes: number): void {
  switch (op) {
    case UBLK_IO_OP_READ:
      row[COUNTER.reads]++;
      row[COUNTER.readBytes] += bytes;
      return;
    case UBLK_IO_OP_WRITE:
      row[COUNTER.writes]++;
      row[COUNTER.writtenBytes] += bytes;
      return;
    case UBLK_IO_OP_FLUSH:
      row[COUNTER.flushes]++;
      return;
    case UBLK_IO_OP_DISCARD:
      row[COUNTER.discards]++;
      row[COUNTER.discardedBytes] += bytes;
      return;
    case UBLK_IO_OP_WRITE_ZEROES:
      row[COUNTER.writeZeroes]++;
      row[COUNTER.zeroedBytes] += bytes;
      return;
    default:
      return;
  }
}

/** Counts a request that was answered with -errno. */
export function countResult(row: Float64Array, result: number): void {
  if (result < 0) row[COUNTER.errors]++;
}
