// What a HyperfileWriter is told, and what it answers.

import type { ZeroForm } from "./mutations.ts";
import type { StagedTail } from "./staged_tail.ts";
import type { WriteClaim } from "./write_claim.ts";

export interface WriterOptions {
  readonly nodeCacheBytes?: number;
  /** Requests to the store at once. */
  readonly concurrency?: number;
  /** A batch that needs a longer segment is refused. */
  readonly segmentBytesMax?: number;
  /** How zero ranges and blocks of zeros are stored; a hole unless told otherwise. */
  readonly zeroForm?: ZeroForm;
  readonly signal?: AbortSignal;
}

export interface OpenClaimedOptions extends WriterOptions {
  readonly claim: WriteClaim;
  /** See settleOrphans(). */
  readonly adoptEpoch: number | null;
  readonly mayHold?: (block: number) => boolean;
  /** Goes on with segments that an earlier run has staged; null: empties them. */
  readonly staged?: StagedTail | null;
}

export interface CommitOptions {
  /** The time of the checkpoint. */
  readonly mtimeMs: number;
  /** The size of the file from now on: never less than before. */
  readonly sizeBytes?: number;
  /** False: write the segment, but publish it only with a later commit. */
  readonly publish?: boolean;
  readonly signal?: AbortSignal;
}

export interface CommitResult {
  /** The newest published checkpoint. */
  readonly cno: number;
  /** The segment that was written, or 0 when the batch changed nothing. */
  readonly segmentId: number;
  readonly segmentBytes: number;
  readonly metaBlocks: number;
  readonly dataBlocks: number;
  readonly putCount: number;
}
