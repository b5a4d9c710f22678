// Which stretches of the device are read to compare some of their blocks. Pure. Caller: verify.ts.

import type { Stretch } from "./primary_digests.ts";

/** Blocks between two wanted ones that are cheaper to read than a second time. */
const GAP_BLOCKS = 16;

/** A stretch to read for the blocks of it that are to be compared, ascending. */
export interface Probe extends Stretch {
  readonly wanted: readonly number[];
}

/** Ascending blocks as stretches. */
export function stretchesOf(blocks: Iterable<number>): Stretch[] {
  const stretches: { firstBlock: number; blocks: number }[] = [];
  for (const block of blocks) {
    const last = stretches.at(-1);
    if (last !== undefined && block === last.firstBlock + last.blocks) last.blocks++;
    else stretches.push({ firstBlock: block, blocks: 1 });
  }
  return stretches;
}

/**
 * Ascending blocks as stretches to read, which do not cross a multiple of `limit`. No block of `alone` is
 * read together with others: one that can't be read would spoil their stretch.
 */
export function probesOf(
  blocks: readonly number[],
  limit: number,
  alone: ReadonlySet<number>,
): Probe[] {
  const probes: Probe[] = [];
  let wanted: number[] = [];
  for (const block of blocks) {
    const last = wanted.at(-1);
    const fits = last !== undefined && block - last <= GAP_BLOCKS &&
      Math.floor(block / limit) === Math.floor(last / limit) && !hasAny(alone, last, block);
    if (!fits && last !== undefined) {
      probes.push(probeOf(wanted));
      wanted = [];
    }
    wanted.push(block);
  }
  if (wanted.length > 0) probes.push(probeOf(wanted));
  return probes;
}

/** Whether any block from `first` to `last`, both included, is in `set`. */
function hasAny(set: ReadonlySet<number>, first: number, last: number): boolean {
  for (let block = first; set.size > 0 && block <= last; block++) {
    if (set.has(block)) return true;
  }
  return false;
}

function probeOf(wanted: readonly number[]): Probe {
  const firstBlock = wanted[0];
  return { firstBlock, blocks: wanted[wanted.length - 1] + 1 - firstBlock, wanted };
}
