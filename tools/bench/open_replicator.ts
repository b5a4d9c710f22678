// The real Replicator and HyperfileWriter under the limits of a device, without a primary: the flush
// log's write per checkpoint is left out. Callers: the probes that measure natively.

import { READABLE } from "../../tests/support/readable.ts";
import { setThreadNice } from "../../ffi/libc.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { createWriter } from "../../tests/support/sole_writer.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import {
  checkpointBatchBlocks,
  checkpointLimits,
} from "../../src/replication/checkpoint_policy.ts";
import { ResyncPace } from "../../src/replication/resync_pace.ts";
import { Replicator } from "../../src/replicator/replicator.ts";
import { NODE_CACHE_BYTES } from "../../src/replicator/room.ts";
import { ReplicatorBell } from "../../src/shared/bell.ts";
import type { SharedViews } from "../../src/shared/layout.ts";

/** Makes a replica in the empty `store` and the replicator that fills it from the pool of `views`. */
export async function openReplicator(
  store: ObjectStore,
  views: SharedViews,
  options: { sizeBytes: number; wakeQueues: () => void },
): Promise<{ writer: HyperfileWriter; replicator: Replicator }> {
  const { layout } = views;
  const writer = await createWriter(store, {
    createdMs: Date.now(),
    nodeCacheBytes: NODE_CACHE_BYTES,
  });
  const replicator = new Replicator({
    claim: null,
    views,
    writer: {
      commit: (batch) =>
        writer.commit(batch, { mtimeMs: Date.now(), sizeBytes: options.sizeBytes }),
    },
    journal: { recordCommit: () => Promise.resolve() },
    bell: new ReplicatorBell(views),
    clock: systemClock,
    random: Math.random,
    limits: checkpointLimits(layout.poolBytes),
    batchBlocks: checkpointBatchBlocks({ ...layout, requestBytes: layout.tagStrideBytes }),
    resync: {
      source: { readInto: () => Promise.reject(new Error("Nothing is stale here")) },
      allocate: (sizeBytes) => new Uint8Array(sizeBytes),
      concurrency: 1,
      pace: new ResyncPace(null),
      ...READABLE,
    },
    mode: "logging",
    wakeQueues: options.wakeQueues,
    setNice: setThreadNice,
    onEvent: ({ error }) => {
      if (error) throw error;
    },
  });
  return { writer, replicator };
}
