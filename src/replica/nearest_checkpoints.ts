// Which checkpoints there are around a number that is none: for the message that refuses it.
// Caller: export.

import { listCheckpoints } from "./inode_reader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";

const FIRST_STEP = 64;
const STEP_FACTOR = 16;
const EACH_SIDE = 2;

/** Up to two published checkpoints on each side of `cno`, ascending. */
export async function nearestCheckpoints(
  store: ObjectStore,
  cno: number,
  options: RequestOptions = {},
): Promise<number[]> {
  let below: number[] = [];
  // Lists only go up, so begin a little below, and further below while nothing is found.
  for (let step = FIRST_STEP;; step *= STEP_FACTOR) {
    const from = Math.max(1, cno - step);
    const found = await collect(store, { ...options, from, to: cno - 1, last: EACH_SIDE });
    below = found;
    if (below.length > 0 || from === 1) break;
  }
  const above = await collect(store, { ...options, from: cno + 1, to: Infinity, first: EACH_SIDE });
  return [...below, ...above];
}

async function collect(
  store: ObjectStore,
  options: RequestOptions & { from: number; to: number; first?: number; last?: number },
): Promise<number[]> {
  const { from, to, first = Infinity, last = Infinity, signal } = options;
  const found: number[] = [];
  if (from > to) return found;
  for await (const { cno, damage } of listCheckpoints(store, { from, signal })) {
    if (cno > to || found.length >= first) break;
    if (damage === null) found.push(cno);
    if (found.length > last) found.shift();
  }
  return found;
}
