// The parts of a status that tell how far a replica is from its primary: what is dirty, what is being
// copied, what is being compared.

import { isLive, type Mode } from "../replication/mode.ts";
import type { VerifyProgress } from "../replication/verify_report.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../shared/counters.ts";
import { History } from "../shared/history.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { StaleMap } from "../shared/stale_map.ts";
import type { DirtyReport, ResyncReport, VerifyStatusReport } from "./protocol.ts";

/** The regions that the primary's dirty map names. */
export function dirtyReport(views: SharedViews): DirtyReport {
  const map = new IntentMap(views);
  const { regionBytes, regionCount, deviceSizeBytes } = views.layout;
  const regions = map.dirtyCount();
  // The last region may be short.
  const beyond = map.isDurable(regionCount - 1) ? regionCount * regionBytes - deviceSizeBytes : 0;
  return { regions, bytes: regions * regionBytes - beyond };
}

/** Null while every write gets to the replica through the pool. */
export function resyncReport(views: SharedViews, mode: Mode, nowMs: number): ResyncReport | null {
  if (new History(views).isWhole()) return null;
  const { chunkBlocks, unitBytes } = views.layout;
  const pendingBytes = new StaleMap(views).count() * chunkBlocks * unitBytes;
  const counter = (name: keyof typeof REPLICATOR_COUNTER) =>
    views.counters[replicatorCounters(views) + REPLICATOR_COUNTER[name]];
  const sinceMs = counter("resyncSinceMs");
  // Live, as a full pool is seen before the replicator has changed its mode.
  if (!isLive(mode) || sinceMs === 0) {
    return { doneBytes: 0, pendingBytes, bytesPerSecond: 0, remainingSeconds: null };
  }
  const doneBytes = counter("resyncedBytes") - counter("resyncFromBytes");
  return {
    doneBytes,
    pendingBytes,
    ...pace(doneBytes, pendingBytes, nowMs - sinceMs),
  };
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
  const bytesPerSecond = elapsedMs > 0 ? doneBytes / elapsedMs * 1000 : 0;
  return {
    bytesPerSecond,
    remainingSeconds: bytesPerSecond > 0 ? pendingBytes / bytesPerSecond : null,
  };
}
