// Counters that status and stats read: doubles, each written by one room only, monotonic unless
// their name says otherwise. Reading them needs no lock: a reader may see them a little apart.

import { COUNTER_ROW, type SharedViews } from "./layout.ts";

/** Columns of a queue's row. */
export const QUEUE_COUNTER = {
  reads: 0,
  readBytes: 1,
  writes: 2,
  writtenBytes: 3,
  flushes: 4,
  discards: 5,
  discardedBytes: 6,
  writeZeroes: 7,
  zeroedBytes: 8,
  errors: 9,
  /** Requests that waited because an overlapping write was in flight. */
  lockWaits: 10,
  /** Requests that waited because the pool was full. */
  poolWaits: 11,
  /** Writes that did not cover whole replica blocks: their blocks were read back. */
  readBacks: 12,
  /** Entries published to the pool. */
  captured: 13,
  /** Changes that were left to resync instead, whole or in part. */
  marked: 14,
  /** Changes that waited until the primary's dirty map named their regions. */
  intentWaits: 15,
  /** Pages of the dirty map that were written for them. */
  intentWrites: 16,
} as const;

/** Columns of the replicator's row. */
export const REPLICATOR_COUNTER = {
  /** Number of the last committed checkpoint. */
  lastCno: 0,
  /** When it was committed, milliseconds since the epoch; 0: none by this daemon. */
  lastCommitMs: 1,
  checkpoints: 2,
  /** Bytes of segments that were stored. */
  segmentBytes: 3,
  /** Bytes of guest data on the replica, after coalescing. */
  committedBytes: 4,
  /** Operations and bytes taken from the pool and committed. */
  committedOperations: 5,
  drainedBytes: 6,
  /** When the oldest write that no published checkpoint has was seen, ms since the epoch; 0: none. */
  oldestPendingMs: 7,
  commitErrors: 8,
  /** Duration of the last commit in milliseconds. */
  lastCommitTookMs: 9,
  putRequests: 10,
  /** Requests repeated by the store's retry layer. */
  storeRetries: 11,
  /** Bytes that resync put into the ring, and the entries that they took. */
  resyncedBytes: 12,
  resyncEntries: 13,
  /** Reads of the primary that failed. */
  resyncErrors: 14,
  /** When the resync under way began, milliseconds since the epoch, and resyncedBytes then; 0: none. */
  resyncSinceMs: 15,
  resyncFromBytes: 16,
  /** Blocks of the primary that can't be read: the replica keeps what it had of them. */
  unreadableBlocks: 17,
} as const;

/** Names among the counters that tell of the moment: their growth means nothing. */
export const GAUGES: ReadonlySet<string> = new Set<
  keyof typeof REPLICATOR_COUNTER | "dirtyRegions"
>([
  "lastCno",
  "lastCommitMs",
  "lastCommitTookMs",
  "oldestPendingMs",
  "resyncSinceMs",
  "resyncFromBytes",
  "unreadableBlocks",
  "dirtyRegions",
]);

/** Index in `counters` of the first column of queue `qid`. */
export function queueCounters(qid: number): number {
  return qid * COUNTER_ROW;
}

/** Index in `counters` of the first column of the replicator. */
export function replicatorCounters(views: SharedViews): number {
  return views.layout.queues * COUNTER_ROW;
}

/** Sum over all queues of one column. */
export function sumQueues(views: SharedViews, column: number): number {
  let sum = 0;
  for (let qid = 0; qid < views.layout.queues; qid++) {
    sum += views.counters[queueCounters(qid) + column];
  }
  return sum;
}
