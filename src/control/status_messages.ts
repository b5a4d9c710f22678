// What an operator has to know of a replica beyond figures, one sentence each: what is wrong or
// unusual, and what it means. Callers: device/replica_device.ts.

import { formatSize } from "../base/units.ts";
import type { Mode } from "../replication/mode.ts";
import type { PoolReport } from "./protocol.ts";

export interface ReplicaCondition {
  /** Replication is over: the device works locally only. */
  readonly hasEnded: boolean;
  /** The replica does not answer at the moment. */
  readonly isRetrying: boolean;
  /** Why, for the two above. */
  readonly lastError: { readonly message: string; readonly hint?: string } | null;
  readonly mode: Mode;
  /** Every write so far got to the replica, or into the pool. */
  readonly isHistoryWhole: boolean;
  readonly unreadableBlocks: number;
  /** A flush of the primary failed in this run (shared/failed_flush.ts). */
  readonly hasFlushFailed: boolean;
  readonly pool: PoolReport;
}

export function statusMessages(condition: ReplicaCondition): string[] {
  const { hasFlushFailed, unreadableBlocks, pool } = condition;
  const messages = [...replicationMessages(condition)];
  if (hasFlushFailed) {
    messages.push(
      "A flush of the primary failed: what was written before it may be lost, although reads still " +
        "show it. Check the drive; the next start copies every region that is dirty now",
    );
  }
  if (unreadableBlocks > 0) {
    messages.push(
      `${unreadableBlocks} of the primary's blocks can't be read: the replica has what it had of ` +
        "them, the log names them, and they are tried again",
    );
  }
  if (pool.waitingTags > 0) {
    messages.push(
      `The pool of ${formatSize(pool.sizeBytes)} is full: ` +
        `${pool.waitingTags} writes wait for the replica`,
    );
  }
  return messages;
}

function* replicationMessages(condition: ReplicaCondition): Generator<string> {
  const { hasEnded, isRetrying, lastError, mode, isHistoryWhole } = condition;
  const why = lastError?.message ?? "unknown";
  if (hasEnded) {
    const hint = lastError?.hint === undefined ? "" : `. ${lastError.hint}`;
    yield `Replication has ended, the device works locally only: ${why}${hint}`;
    return;
  }
  if (isRetrying) yield `The replica does not answer, writes gather in the pool: ${why}`;
  if (mode === "paused") {
    yield 'Replication is paused: the replica gets nothing until "mode set logging", and then what ' +
      "was written meanwhile";
  } else if (!isHistoryWhole) {
    yield "The replica is behind and is being brought up to date region by region: no new " +
      "checkpoint until that is done";
  }
}
