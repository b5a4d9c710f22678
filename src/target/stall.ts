// A stop that waits for the replica: whether the replica still takes anything.
// Caller: replica_target.ts.

import type { Clock } from "../base/clock.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../shared/counters.ts";
import type { SharedViews } from "../shared/layout.ts";

/** A stop gives up on the replica when it took nothing for so long. */
export const STALL_MS = 60_000;
const STALL_CHECK_MS = 500;

/** True when nothing has left the pool for STALL_MS; false when `signal` is aborted before. */
export async function untilStalled(
  views: SharedViews,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  const counters = views.counters.subarray(replicatorCounters(views));
  let drained = counters[REPLICATOR_COUNTER.drainedBytes];
  let sinceMs = clock.nowMs();
  while (true) {
    await clock.sleep(STALL_CHECK_MS, signal);
    if (signal.aborted) return false;
    const now = counters[REPLICATOR_COUNTER.drainedBytes];
    if (now !== drained) sinceMs = clock.nowMs();
    drained = now;
    if (clock.nowMs() - sinceMs > STALL_MS) return true;
  }
}
