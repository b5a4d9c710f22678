// When to cut a checkpoint (R8): by age, size or guest FLUSH, whichever comes first; never only when
// idle. Pure: time and amounts come in, a decision goes out.

import { MiB } from "../base/units.ts";

export interface CheckpointLimits {
  /** A write waits at most this long for its checkpoint to begin. */
  readonly maxAgeMs: number;
  /** Bytes in the pool that are worth a checkpoint at once. */
  readonly targetBytes: number;
  /** Guest FLUSHes cut at most one checkpoint in this time. */
  readonly flushIntervalMs: number;
}

const DEFAULT_LIMITS: CheckpointLimits = {
  maxAgeMs: 400,
  targetBytes: 16 * MiB,
  flushIntervalMs: 100,
};
/** Data that one checkpoint gathers at most; less where the pool is small. */
const BATCH_BYTES_MAX = 64 * MiB;

/** The limits that suit a pool of this size. */
export function checkpointLimits(poolBytes: number): CheckpointLimits {
  const targetBytes = Math.min(DEFAULT_LIMITS.targetBytes, poolBytes / 4);
  return { ...DEFAULT_LIMITS, targetBytes };
}

/** Blocks that one checkpoint gathers at most: a part of the pool, and any single request. */
export function checkpointBatchBlocks(
  { poolBytes, unitBytes, requestBytes }: {
    poolBytes: number;
    unitBytes: number;
    requestBytes: number;
  },
): number {
  const bytes = Math.min(BATCH_BYTES_MAX, Math.max(poolBytes / 4, MiB));
  return Math.ceil(Math.max(Math.floor(bytes / unitBytes), requestBytes / unitBytes));
}

/** What waits in the pool. */
export interface Pending {
  /** Age of the oldest write that is in no checkpoint yet, in milliseconds; null: there is none. */
  readonly oldestAgeMs: number | null;
  readonly pendingBytes: number;
  /** Requests wait for room in the pool, or the device is stopping. */
  readonly urgent: boolean;
}

export interface CheckpointNeed extends Pending {
  readonly nowMs: number;
  /** A guest FLUSH came after the last cut. */
  readonly guestFlushed: boolean;
  readonly lastCutMs: number;
}

/** Milliseconds until the next checkpoint is to be cut: 0 means now, Infinity that nothing is due. */
export function checkpointDueInMs(need: CheckpointNeed, limits: CheckpointLimits): number {
  if (need.oldestAgeMs === null) return Infinity;
  if (need.urgent || need.pendingBytes >= limits.targetBytes) return 0;
  const byAge = limits.maxAgeMs - need.oldestAgeMs;
  const byFlush = need.guestFlushed
    ? need.lastCutMs + limits.flushIntervalMs - need.nowMs
    : Infinity;
  return Math.max(0, Math.min(byAge, byFlush));
}

/** Commits that are not published serve nobody who waits: they may gather for longer. */
const STAGED_AGE_MS = 2000;

/** Whether a commit that will not be published is to be cut now. */
export function isStagedCommitDue(pending: Pending, limits: CheckpointLimits): boolean {
  const { oldestAgeMs, pendingBytes, urgent } = pending;
  return urgent || pendingBytes >= limits.targetBytes || (oldestAgeMs ?? 0) >= STAGED_AGE_MS;
}
