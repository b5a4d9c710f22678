// What the replicator's room is told of the target that it serves. Caller: replica_target.ts.

import { usageError } from "../base/errors.ts";
import type { ReplicaTargetConfig } from "../config.ts";
import type { Superblock } from "../format/superblock.ts";
import { checkpointBatchBlocks, checkpointLimits } from "../replication/checkpoint_policy.ts";
import type { ReplicatorRoomOptions } from "../replicator/room_options.ts";
import type { SharedLayout } from "../shared/layout.ts";

export interface RoomOfTarget {
  readonly target: ReplicaTargetConfig;
  readonly superblock: Superblock;
  readonly shared: SharedArrayBuffer;
  readonly layout: SharedLayout;
  readonly doorbellFds: readonly number[];
}

/** The room's options; a usage error for a primary that was not formatted to its end. */
export function roomOptions(room: RoomOfTarget): ReplicatorRoomOptions {
  const { target, superblock, shared, layout, doorbellFds } = room;
  const { state, deviceSizeBytes } = superblock;
  if (state === "formatting") throw usageError("Cannot start the device: not formatted");
  return {
    shared,
    layout,
    doorbellFds,
    primaryPath: target.path,
    bufferedIo: target.bufferedIo,
    primaryState: state,
    skipInitialSync: target.skipInitialSync,
    writeIntent: target.writeIntent,
    takeOver: target.takeOver,
    acceptUnsafeStore: target.acceptUnsafeStore,
    force: target.force,
    resyncConcurrency: target.resyncConcurrency,
    resyncBytesPerSecond: target.resyncBytesPerSecond,
    deviceSizeBytes,
    replica: target.replica,
    s3: target.s3,
    uuid: target.uuid,
    limits: checkpointLimits(layout.poolBytes),
    batchBlocks: checkpointBatchBlocks({ ...layout, requestBytes: layout.tagStrideBytes }),
  };
}
