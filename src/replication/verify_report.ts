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
  /** Bytes that were written so often that no checkpoint had what the primary had. */
  readonly busyBytes: number;
  /** False: too much differs, the rest was not looked at. */
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

/** Whether primary and replica were found equal. */
export function isEqual(report: VerifyReport): boolean {
  return report.isComplete && report.differing.length === 0 && report.damaged.length === 0;
}
