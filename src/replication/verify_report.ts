// What a comparison of primary and replica finds: plain data, from the replicator's room to the command.

export interface ByteSpan {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface VerifyReport {
  /** Bytes of the device that were compared; less than all of it where it ended early. */
  readonly comparedBytes: number;
  readonly deviceSizeBytes: number;
  /** The last checkpoint that was compared with. */
  readonly cno: number;
  /** Where the two differ, ascending. */
  readonly differing: readonly ByteSpan[];
  /** Where the replica can't be read: its objects are missing or damaged. */
  readonly damaged: readonly (ByteSpan & { readonly message: string })[];
  /** Where the primary can't be read: nothing was compared there. Ascending. */
  readonly unreadable: readonly ByteSpan[];
  /** Bytes that were written so often that no checkpoint had what the primary had. */
  readonly busyBytes: number;
  /** False: too much differs or can't be read, the rest was not looked at. */
  readonly isComplete: boolean;
  /** What differs is copied again. */
  readonly isRepairing: boolean;
  readonly tookMs: number;
}

export interface VerifyProgress {
  /** Waiting: for a resync to end, or for a checkpoint. */
  readonly stage: "comparing" | "waiting";
  readonly comparedBytes: number;
  readonly differingBytes: number;
  /** Null as long as nothing is known. */
  readonly remainingMs: number | null;
}

/** What was found: one place that differs is enough, but all must have been read to be equal. */
export function verdictOf(report: VerifyReport): "equal" | "different" | "unknown" {
  const { differing, damaged, unreadable, isComplete } = report;
  if (differing.length + damaged.length > 0) return "different";
  return unreadable.length === 0 && isComplete ? "equal" : "unknown";
}
