// What a Replicator is told where a test is about something else: nobody else claims the replica, nothing
// is recorded or heard, and time is the system's.

import { systemClock } from "../../src/base/clock.ts";
import { ResyncPace } from "../../src/replication/resync_pace.ts";
import type { ReplicatorOptions } from "../../src/replicator/replicator_options.ts";
import { ReplicatorBell } from "../../src/shared/bell.ts";
import type { SharedViews } from "../../src/shared/layout.ts";

/** All but the replica, the resync and the sizes. */
export function quietReplicator(
  views: SharedViews,
): Omit<ReplicatorOptions, "writer" | "resync" | "batchBlocks" | "mode" | "limits"> {
  return {
    claim: null,
    views,
    journal: { recordCommit: () => Promise.resolve() },
    bell: new ReplicatorBell(views),
    clock: systemClock,
    random: () => 0,
    wakeQueues() {},
    setNice() {},
    onEvent() {},
  };
}

/** Memory and time for copies: as much as they want. */
export function quietCopies(): Pick<ReplicatorOptions["resync"], "allocate" | "pace"> {
  return { allocate: (sizeBytes) => new Uint8Array(sizeBytes), pace: new ResyncPace(null) };
}
