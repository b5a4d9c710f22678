// A stop that waits for the replica: whether the replica still takes anything.
// Caller: replica_target.ts.

import type { Clock } from "../base/clock.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../shared/counters.ts";
import type { SharedViews } from "../shared/layout.ts";

/** A stop gives up on the replica when it took nothing for so long, and requests to it failed. */
export const STALL_MS = 60_000;
/** The same where none failed: a commit may take long on a slow line, but a file system that hangs says nothing. */
const SILENT_MS = 10 * STALL_MS;
const STALL_CHECK_MS = 500;

/** True when nothing has left the pool for too long; false when `signal` is aborted before. */
export async function untilStalled(
  views: SharedViews,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  const counters = views.counters.subarray(replicatorCounters(views));
  const { drainedBytes, storeRetries, commitErrors } = REPLICATOR_COUNTER;
  const failures = () => counters[storeRetries] + counters[commitErrors];
  let drained = counters[drainedBytes];
  let failedBefore = failures();
  let sinceMs = clock.nowMs();
  while (true) {
    await clock.sleep(STALL_CHECK_MS, signal);
    if (signal.aborted) return false;
    const now = counters[drainedBytes];
    if (now !== drained) {
      sinceMs = clock.nowMs();
      failedBefore = failures();
    }
    drained = now;
    const patienceMs = failures() > failedBefore ? STALL_MS : SILENT_MS;
    if (clock.nowMs() - sinceMs > patienceMs) return true;
  }
}
