// What the replicator's room is made from, and what it tells the main room: plain data that can be
// posted between threads.

import type { ErrorReport } from "../base/error_report.ts";
import type { ReplicaLocation } from "../replica/replica_uri.ts";
import type { S3Config } from "../replica/s3_settings.ts";
import type { CheckpointLimits } from "../replication/checkpoint_policy.ts";
import type { Mode } from "../replication/mode.ts";
import type { StartState } from "../replication/startup.ts";
import type { SharedLayout } from "../shared/layout.ts";
import type { ReplicatorState } from "./replicator_options.ts";

export interface ReplicatorRoomOptions {
  readonly shared: SharedArrayBuffer;
  readonly layout: SharedLayout;
  readonly doorbellFds: readonly number[];
  readonly primaryPath: string;
  readonly bufferedIo: boolean;
  /** The superblock's state when the device was opened: main marks it active afterwards. */
  readonly primaryState: StartState;
  /** The operator said that a primary that was never copied holds nothing but zeros. */
  readonly skipInitialSync: boolean;
  /** False: every region counts as dirty until the device is stopped. */
  readonly writeIntent: boolean;
  /** The operator said to take the replica from the writer that holds it. */
  readonly takeOver: boolean;
  /** The operator accepted a store that does not honour conditions. */
  readonly acceptUnsafeStore: boolean;
  /** The operator wants the primary copied whatever the replica holds. */
  readonly force: boolean;
  /** Copies of resync at once, and at most how fast; null: no limit. */
  readonly resyncConcurrency: number;
  readonly resyncBytesPerSecond: number | null;
  /** After how long without a write a region may be taken off the dirty map; the usual time if absent. */
  readonly intentGenerationMs?: number;
  /** After how long without a published commit the claim is looked at; the usual time if absent. */
  readonly claimLookMs?: number;
  /** Until blocks that could not be read are read again; the usual time if absent. */
  readonly asideLookMs?: number;
  readonly deviceSizeBytes: number;
  readonly replica: ReplicaLocation;
  /** Over what the AWS environment variables say. */
  readonly s3: S3Config;
  readonly uuid: string;
  readonly limits: CheckpointLimits;
  /** Blocks that one checkpoint gathers at most. */
  readonly batchBlocks: number;
}

/** The replica is attached: writes may be captured. */
export interface ReplicatorReady {
  readonly cno: number;
  /** In a forward mode primary and replica differ in what is copied from now on. */
  readonly mode: "logging" | "forward-part" | "forward-full";
  /** What the start-up had to do first, for the log. */
  readonly startup: string;
  /** What the operator should know for as long as the device runs. */
  readonly warnings: readonly string[];
}

export interface ReplicatorNews {
  readonly state: ReplicatorState;
  readonly mode: Mode;
  readonly error?: ErrorReport;
}

/** What the room reports while it runs. */
export interface ReplicatorRoomEvents {
  onNews(news: ReplicatorNews): void;
}
