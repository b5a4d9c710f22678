// What the main room and the replicator's worker say to each other.

import type { ErrorReport } from "../base/error_report.ts";
import type { LogConfig } from "../config.ts";
import type { Mode } from "../replication/mode.ts";
import type { VerifyProgress, VerifyReport } from "../replication/verify_report.ts";
import type { ModeOrder } from "../replication/wanted_mode.ts";
import type {
  ReplicatorNews,
  ReplicatorReady,
  ReplicatorRoomOptions,
} from "../replicator/room_options.ts";

export type ToReplicatorMessage =
  | { readonly type: "start"; readonly room: ReplicatorRoomOptions; readonly log: LogConfig }
  /** After "ready": the superblock says that the device runs, so replicate. */
  | { readonly type: "begin" }
  /** No queue captures any more: drain the pool and end. */
  | { readonly type: "stop" }
  /** What the operator wants; nothing happens where the mode does not allow it. Answered by "ordered". */
  | { readonly type: "order"; readonly order: ModeOrder }
  /** Compare primary and replica. Answered by "verified" or "verify-failed". */
  | { readonly type: "verify"; readonly repair: boolean }
  /** Nobody waits for the comparison any more. */
  | { readonly type: "verify-stop" }
  /** End at once. */
  | { readonly type: "abandon" };

export type FromReplicatorMessage =
  | { readonly type: "ready"; readonly ready: ReplicatorReady }
  | { readonly type: "news"; readonly news: ReplicatorNews }
  /** An order is carried out, with what came of it; one for each, in order. */
  | { readonly type: "ordered"; readonly mode: Mode }
  | { readonly type: "verify-progress"; readonly progress: VerifyProgress }
  | { readonly type: "verified"; readonly report: VerifyReport }
  | { readonly type: "verify-failed"; readonly error: ErrorReport }
  /** The worker ends. `drained`: everything that was captured is on the replica. */
  | { readonly type: "stopped"; readonly drained: boolean }
  /** The room could not open, or broke; the worker ends. */
  | { readonly type: "failed"; readonly error: ErrorReport; readonly stack?: string };
