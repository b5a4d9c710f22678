// Batches for tests of the Hyperfile.

import type { BlockRange, CheckpointBatch } from "../../src/format/checkpoint_batch.ts";

/** A batch of blocks by index, and zero ranges; sorts both. */
export function batchOf(
  blocks: Iterable<readonly [number, Uint8Array]>,
  zeroRanges: readonly BlockRange[] = [],
): CheckpointBatch {
  const sorted = [...blocks].sort((a, b) => a[0] - b[0]);
  return {
    blockCount: sorted.length,
    blockIndex: (i) => sorted[i][0],
    blockBytes: (i) => sorted[i][1],
    zeroRanges: [...zeroRanges].sort((a, b) => a.startBlock - b.startBlock),
  };
}

/** A block of one repeated byte. */
export function filled(byte: number, blockBytes = 4096): Uint8Array {
  return new Uint8Array(blockBytes).fill(byte);
}

/** A block that no other `stamp` gives: the stamp in each of its 64-bit words. */
export function stamped(stamp: number, blockBytes = 4096): Uint8Array {
  return new Uint8Array(new Float64Array(blockBytes / 8).fill(stamp).buffer);
}
