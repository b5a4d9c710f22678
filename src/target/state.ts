// What the target knows beyond the shared counters, for `status`. Caller: replica_target.ts.

import type { Mode } from "../replication/mode.ts";
import type { ReplicatorNews } from "../replicator/room_options.ts";

export interface ReplicaTargetState {
  readonly replicator: "starting" | ReplicatorNews["state"] | "failed";
  readonly mode: Mode;
  readonly lastError: {
    readonly atMs: number;
    readonly message: string;
    readonly hint?: string;
  } | null;
  readonly warnings: readonly string[];
}

export const STARTING: ReplicaTargetState = {
  replicator: "starting",
  mode: "logging",
  lastError: null,
  warnings: [],
};

/** What news from the replicator's room make of it. */
export function stateAfter(
  before: ReplicaTargetState,
  { state, mode, error }: ReplicatorNews,
  nowMs: number,
): ReplicaTargetState {
  const lastError = error
    ? { atMs: nowMs, message: error.message, hint: error.hint }
    : before.lastError;
  return { ...before, replicator: state, mode, lastError };
}
