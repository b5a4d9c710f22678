// Why a running device can't do what a request asks for, as it is now. All of them are `unavailable`
// (exit code 4): the command line is right, and the same one works on another device or at another time.
// `usage` is for what is wrong whatever the device is like.
// `task` is what is refused: "set the mode". Callers: what implements RunningDevice, and mode get.

import { ReplicaError } from "../base/errors.ts";

/** The device is a bare one. */
export function hasNoReplica(task: string): ReplicaError {
  return new ReplicaError("unavailable", `Cannot ${task}: the device has no replica`, {
    hint: "Modes and comparisons are those of a device that was added by add io-replica.",
  });
}

/** Replication has ended for good (mode `detached`); `why`: the error that ended it, null: not known. */
export function replicationHasEnded(task: string, why: string | null): ReplicaError {
  return new ReplicaError(
    "unavailable",
    `Cannot ${task}: replication has ended: ${why ?? "unknown"}`,
    { hint: "Stop the device and add it again: the start resyncs what the replica lacks." },
  );
}

/** A stop is under way. */
export function isStopping(task: string): ReplicaError {
  return new ReplicaError("unavailable", `Cannot ${task}: the device is stopping`);
}
