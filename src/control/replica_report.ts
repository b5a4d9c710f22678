// The parts of a status that tell how far a replica is from its primary: what is dirty, what is being
// copied, what is being compared.

import { isLive, type Mode } from "../replication/mode.ts";
import type { VerifyProgress } from "../replication/verify_report.ts";
import {
  QUEUE_COUNTER,
  REPLICATOR_COUNTER,
  replicatorCounters,
  sumQueues,
} from "../shared/counters.ts";
import { History } from "../shared/history.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { StaleMap } from "../shared/stale_map.ts";
import type { DirtyReport, LagReport, ResyncReport, VerifyStatusReport } from "./protocol.ts";

/** The regions that the primary's dirty map names. */
export function dirtyReport(views: SharedViews): DirtyReport {
  const map = new IntentMap(views);
  const { regionBytes, regionCount, deviceSizeBytes } = views.layout;
  const regions = map.dirtyCount();
  // The last region may be short.
  const beyond = map.isDurable(regionCount - 1) ? regionCount * regionBytes - deviceSizeBytes : 0;
  return { regions, bytes: regions * regionBytes - beyond };
}

/** What waits in the pool (`pooledBytes`), and how old the replica's state is. */
export function lagReport(views: SharedViews, pooledBytes: number, nowMs: number): LagReport {
  const entered = sumQueues(views, QUEUE_COUNTER.captured) + replicator(views, "resyncEntries");
  const oldestMs = replicator(views, "oldestPendingMs");
  return {
    bytes: pooledBytes,
    operations: Math.max(0, entered - replicator(views, "committedOperations")),
    seconds: oldestMs === 0 ? 0 : Math.max(0, nowMs - oldestMs) / 1000,
  };
}

/**
 * Null while every write gets to the replica through the pool. The pace is that of the last seconds: an
 * average since a resync began would count the outage that it began with.
 */
export function resyncReport(
  views: SharedViews,
  mode: Mode,
  bytesPerSecond: number,
): ResyncReport | null {
  if (new History(views).isWhole()) return null;
  const { chunkBlocks, unitBytes } = views.layout;
  const pendingBytes = new StaleMap(views).count() * chunkBlocks * unitBytes;
  const sinceMs = replicator(views, "resyncSinceMs");
  // Live, as a full pool is seen before the replicator has changed its mode.
  if (!isLive(mode) || sinceMs === 0) {
    return { doneBytes: 0, pendingBytes, bytesPerSecond: 0, remainingSeconds: null };
  }
  const doneBytes = replicator(views, "resyncedBytes") - replicator(views, "resyncFromBytes");
  return {
    doneBytes,
    pendingBytes,
    ...timeLeft(pendingBytes, bytesPerSecond),
  };
}

function replicator(views: SharedViews, name: keyof typeof REPLICATOR_COUNTER): number {
  return views.counters[replicatorCounters(views) + REPLICATOR_COUNTER[name]];
}

/** A comparison that began at `sinceMs`. */
export function verifyStatusReport(
  { stage, comparedBytes, differingBytes }: VerifyProgress,
  { deviceSizeBytes, sinceMs, nowMs }: {
    readonly deviceSizeBytes: number;
    readonly sinceMs: number;
    readonly nowMs: number;
  },
): VerifyStatusReport {
  const pendingBytes = deviceSizeBytes - comparedBytes;
  return {
    stage,
    comparedBytes,
    pendingBytes,
    differingBytes,
    ...pace(comparedBytes, pendingBytes, nowMs - sinceMs),
  };
}

/** How fast it went so far, and how long the rest takes at that pace. */
function pace(doneBytes: number, pendingBytes: number, elapsedMs: number) {
  return timeLeft(pendingBytes, elapsedMs > 0 ? doneBytes / elapsedMs * 1000 : 0);
}

function timeLeft(pendingBytes: number, bytesPerSecond: number) {
  return {
    bytesPerSecond,
    remainingSeconds: bytesPerSecond > 0 ? pendingBytes / bytesPerSecond : null,
  };
}
