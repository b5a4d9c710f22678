// What a checkpoint changes: the interface between the replicator, which gathers it from the pool or
// from a resync, and the Hyperfile writer, which lays it out as one segment.

/** Blocks `startBlock` to `startBlock + blockCount - 1`. */
export interface BlockRange {
  readonly startBlock: number;
  readonly blockCount: number;
}

export interface CheckpointBatch {
  /** Number of data blocks. */
  readonly blockCount: number;
  /** Index on the device of the i-th data block; ascending, without duplicates. */
  blockIndex(i: number): number;
  /** Its bytes, one replica block; may be shared memory; stable until the commit settles. */
  blockBytes(i: number): Uint8Array;
  /** Blocks that read as zeros from now on; ascending, apart from each other and from the data. */
  readonly zeroRanges: readonly BlockRange[];
}
