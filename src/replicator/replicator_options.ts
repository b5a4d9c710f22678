// What a replicator is made from, and what it tells: the places where the simulator and the tests put
// their own time, chance, replica and primary.

import type { Clock } from "../base/clock.ts";
import type { ReplicaError } from "../base/errors.ts";
import type { CheckpointLimits } from "../replication/checkpoint_policy.ts";
import type { Mode } from "../replication/mode.ts";
import type { Bell } from "../shared/bell.ts";
import type { SharedViews } from "../shared/layout.ts";
import type { ClaimWatchOptions } from "./claim_watch.ts";
import type { CheckpointWriter, CommitJournal } from "./committer.ts";
import type { ResyncOptions } from "./resync.ts";

export type ReplicatorState = "replicating" | "retrying" | "detached" | "stopped";

/** What changed, for the log and for `status`. */
export interface ReplicatorEvent {
  readonly state: ReplicatorState;
  readonly mode: Mode;
  /** Why, where an error brought it about. */
  readonly error?: ReplicaError;
}

export interface ReplicatorOptions {
  readonly views: SharedViews;
  readonly writer: CheckpointWriter;
  readonly journal: CommitJournal;
  readonly resync: Omit<ResyncOptions, "views" | "pool" | "clock" | "wakeQueues" | "onProgress">;
  /** How to look at the claim on the replica while nothing is published; null: nobody else can take it. */
  readonly claim: ClaimWatchOptions | null;
  /** The mode to begin in; in a forward mode the chunks to copy are stale already. */
  readonly mode: "logging" | "forward-part" | "forward-full";
  readonly bell: Bell;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly limits: CheckpointLimits;
  /** Blocks that one checkpoint gathers at most. */
  readonly batchBlocks: number;
  /** Wakes every queue: room in the pool, a lock is free, or capturing has ended. */
  readonly wakeQueues: () => void;
  readonly onEvent: (event: ReplicatorEvent) => void;
  /** Sets the nice value of this thread. */
  readonly setNice: (nice: number) => void;
}
