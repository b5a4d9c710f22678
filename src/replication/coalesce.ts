// Coalesces the writes between two checkpoints: of several writes to a block the last one wins, a
// zeroing wins over the writes before it and loses against those after it. Pure: it sees positions,
// never bytes.
//
// Each data block becomes one double, block * 2^17 + ordinal, so that one native sort brings equal
// blocks together in the order of their writes. Hence the two limits below.

import { invariant } from "../base/assert.ts";
import type { BlockRange } from "../format/checkpoint_batch.ts";

/** Blocks, and zeroings, that one checkpoint can gather: 512 MiB of 4 KiB blocks. */
export const COALESCE_LIMIT = 2 ** 17;
/** 2^36 blocks: 256 TiB of 4 KiB blocks. */
const BLOCK_LIMIT = 2 ** 36;

interface Zeroing extends BlockRange {
  readonly ordinal: number;
}

export interface Coalesced {
  /** Surviving data blocks, ascending. */
  readonly blocks: readonly number[];
  /** Where each of them stands in the pool. */
  readonly positions: readonly number[];
  readonly zeroRanges: readonly BlockRange[];
}

export class Coalescer {
  readonly #capacity: number;
  readonly #keys: Float64Array;
  readonly #positions: Int32Array;
  #zeroings: Zeroing[] = [];
  #dataCount = 0;
  #ordinal = 0;

  /** `capacityBlocks`: data blocks and zeroings together that it will be given at most. */
  constructor(capacityBlocks: number) {
    invariant(capacityBlocks <= COALESCE_LIMIT, "a checkpoint gathers at most 2^17 blocks");
    this.#capacity = capacityBlocks;
    this.#keys = new Float64Array(capacityBlocks);
    this.#positions = new Int32Array(capacityBlocks);
  }

  get empty(): boolean {
    return this.#ordinal === 0;
  }

  /** Whether `blocks` more data blocks (or one zeroing, as 1) fit. */
  fits(blocks: number): boolean {
    return this.#ordinal + blocks <= this.#capacity;
  }

  /** Block `block` was written; its bytes stand at `position`. */
  addData(block: number, position: number): void {
    invariant(block < BLOCK_LIMIT, "a block index is below 2^36");
    this.#keys[this.#dataCount++] = block * COALESCE_LIMIT + this.#ordinal;
    this.#positions[this.#ordinal++] = position;
  }

  addZeroing(startBlock: number, blockCount: number): void {
    this.#zeroings.push({ startBlock, blockCount, ordinal: this.#ordinal++ });
  }

  /** The net effect of all that was added; the coalescer is empty again afterwards. */
  take(): Coalesced {
    const keys = this.#keys.subarray(0, this.#dataCount).sort();
    const covering = new ZeroingSweep(this.#zeroings);
    const blocks: number[] = [];
    const positions: number[] = [];
    for (let i = 0; i < keys.length; i++) {
      const block = Math.floor(keys[i] / COALESCE_LIMIT);
      if (i + 1 < keys.length && keys[i + 1] < (block + 1) * COALESCE_LIMIT) continue;
      const ordinal = keys[i] - block * COALESCE_LIMIT;
      if (covering.lastOrdinalOver(block) > ordinal) continue;
      blocks.push(block);
      positions.push(this.#positions[ordinal]);
    }
    const zeroRanges = subtract(union(this.#zeroings), blocks);
    this.#zeroings = [];
    this.#dataCount = 0;
    this.#ordinal = 0;
    return { blocks, positions, zeroRanges };
  }
}

/** Answers, for ascending blocks, which zeroing over a block was the last one. */
class ZeroingSweep {
  readonly #byStart: readonly Zeroing[];
  #next = 0;
  #active: Zeroing[] = [];

  constructor(zeroings: readonly Zeroing[]) {
    this.#byStart = zeroings.toSorted((a, b) => a.startBlock - b.startBlock);
  }

  /** Ordinal of the last zeroing that covers `block`; -1 when none does. */
  lastOrdinalOver(block: number): number {
    while (this.#next < this.#byStart.length && this.#byStart[this.#next].startBlock <= block) {
      this.#active.push(this.#byStart[this.#next++]);
    }
    if (this.#active.length === 0) return -1;
    this.#active = this.#active.filter((zero) => zero.startBlock + zero.blockCount > block);
    return this.#active.reduce((last, zero) => Math.max(last, zero.ordinal), -1);
  }
}

/** Merges ranges that overlap or touch; the result is ascending. */
function union(ranges: readonly BlockRange[]): BlockRange[] {
  const merged: { startBlock: number; blockCount: number }[] = [];
  for (const { startBlock, blockCount } of ranges.toSorted((a, b) => a.startBlock - b.startBlock)) {
    const last = merged.at(-1);
    if (last && startBlock <= last.startBlock + last.blockCount) {
      const end = Math.max(last.startBlock + last.blockCount, startBlock + blockCount);
      last.blockCount = end - last.startBlock;
    } else {
      merged.push({ startBlock, blockCount });
    }
  }
  return merged;
}

/** Takes the ascending `blocks` out of the ascending, disjoint `ranges`. */
function subtract(ranges: readonly BlockRange[], blocks: readonly number[]): BlockRange[] {
  const rest: BlockRange[] = [];
  let i = 0;
  for (const { startBlock, blockCount } of ranges) {
    let from = startBlock;
    const end = startBlock + blockCount;
    while (i < blocks.length && blocks[i] < from) i++;
    for (; i < blocks.length && blocks[i] < end; i++) {
      if (blocks[i] > from) rest.push({ startBlock: from, blockCount: blocks[i] - from });
      from = blocks[i] + 1;
    }
    if (end > from) rest.push({ startBlock: from, blockCount: end - from });
  }
  return rest;
}
