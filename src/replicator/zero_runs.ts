// Splits blocks that were read from the primary into those of zeros and the others.

import { isZeroData } from "../replica/mutations.ts";

/** Blocks `first` to `first + count - 1` of a buffer. */
export interface BlockRun {
  readonly first: number;
  readonly count: number;
}

export interface ZeroRun extends BlockRun {
  readonly zero: boolean;
}

/** The blocks of `span`, in order, as runs that are all zero or have no block that is. */
export function zeroRuns(bytes: Uint8Array, blockBytes: number, span: BlockRun): ZeroRun[] {
  const runs: { first: number; count: number; zero: boolean }[] = [];
  for (let block = span.first; block < span.first + span.count; block++) {
    const zero = isZeroData(bytes.subarray(block * blockBytes, (block + 1) * blockBytes));
    const last = runs.at(-1);
    if (last?.zero === zero) last.count++;
    else runs.push({ first: block, count: 1, zero });
  }
  return runs;
}
