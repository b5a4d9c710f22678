// A batch as the tree update takes it: sorted puts and deletes of keys in flat arrays, and the data in
// the order in which the segment will hold it.

import { invariant } from "../base/assert.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { ZERO_BLOCK_HI, ZERO_BLOCK_LO } from "../format/block_ptr.ts";

/** How zero blocks are stored: as no key at all, or as a pointer to the zero block. */
export type ZeroForm = "hole" | "pointer";

/**
 * A value whose place is not known yet: its `lo` half is the ordinal of a data block of the batch (in
 * a leaf) or of a new node of the level below. The location bits 10 never occur in real pointers.
 */
export const UNPLACED_HI = 0x80000000;

/** A batch as the tree update takes it. Puts and deletes are disjoint, each ascending. */
export interface Mutations {
  readonly putCount: number;
  readonly putKeys: Float64Array;
  readonly putHi: Uint32Array;
  readonly putLo: Uint32Array;
  /** Ranges of keys to delete: not empty, and not adjacent to each other. */
  readonly deleteCount: number;
  readonly deleteStart: Float64Array;
  readonly deleteEnd: Float64Array;
  /** Data blocks in the order of their ordinals. */
  readonly data: readonly Uint8Array[];
  /** One past the highest block that the batch writes; 0 when it writes none. */
  readonly endBlock: number;
}

/** Blocks that a batch may zero when each needs its own pointer. */
const POINTERS_MAX = 2 ** 20;

/** Whether all bytes are zero. Looks at a few places first: most blocks are not. */
export function isZeroData(bytes: Uint8Array): boolean {
  const last = bytes.length - 1;
  if ((bytes[0] | bytes[last >>> 1] | bytes[last]) !== 0) return false;
  if (bytes.byteOffset % 4 === 0 && bytes.length % 4 === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    // Eight words a step: a resync of a sparse device does little else.
    let at = 0;
    for (const end = words.length & ~7; at < end; at += 8) {
      const low = words[at] | words[at + 1] | words[at + 2] | words[at + 3];
      const high = words[at + 4] | words[at + 5] | words[at + 6] | words[at + 7];
      if ((low | high) !== 0) return false;
    }
    for (; at < words.length; at++) if (words[at] !== 0) return false;
    return true;
  }
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

export interface MutationOptions {
  readonly dataBlockBytes: number;
  readonly zeroForm: ZeroForm;
}

class MutationBuilder {
  readonly data: Uint8Array[] = [];
  readonly putKeys: Float64Array;
  readonly putHi: Uint32Array;
  readonly putLo: Uint32Array;
  putCount = 0;
  readonly deleteStart: Float64Array;
  readonly deleteEnd: Float64Array;
  deleteCount = 0;
  endBlock = 0;
  readonly #zeroForm: ZeroForm;
  #previousEnd = 0;

  constructor(puts: number, deletes: number, zeroForm: ZeroForm) {
    this.putKeys = new Float64Array(puts);
    this.putHi = new Uint32Array(puts);
    this.putLo = new Uint32Array(puts);
    this.deleteStart = new Float64Array(deletes);
    this.deleteEnd = new Float64Array(deletes);
    this.#zeroForm = zeroForm;
  }

  put(key: number, hi: number, lo: number): void {
    this.putKeys[this.putCount] = key;
    this.putHi[this.putCount] = hi;
    this.putLo[this.putCount++] = lo;
  }

  addData(block: number, bytes: Uint8Array): void {
    this.#advance(block, block + 1);
    this.put(block, UNPLACED_HI, this.data.length);
    this.data.push(bytes);
  }

  addZeros(start: number, end: number): void {
    this.#advance(start, end);
    if (this.#zeroForm === "pointer") {
      for (let block = start; block < end; block++) this.put(block, ZERO_BLOCK_HI, ZERO_BLOCK_LO);
      return;
    }
    const last = this.deleteCount - 1;
    if (last >= 0 && this.deleteEnd[last] === start) this.deleteEnd[last] = end;
    else {
      this.deleteStart[this.deleteCount] = start;
      this.deleteEnd[this.deleteCount++] = end;
    }
  }

  #advance(start: number, end: number): void {
    if (!(start >= this.#previousEnd && end > start && Number.isSafeInteger(end))) {
      invariant(false, `blocks ${start} to ${end} of a batch follow ${this.#previousEnd}`);
    }
    this.#previousEnd = end;
    this.endBlock = end;
  }
}

/** Checks a batch and lays it out for the update. */
export function prepareMutations(batch: CheckpointBatch, options: MutationOptions): Mutations {
  const { zeroRanges, blockCount } = batch;
  const pointers = options.zeroForm === "pointer";
  const zeroBlocks = zeroRanges.reduce((sum, range) => sum + range.blockCount, 0);
  invariant(!pointers || zeroBlocks <= POINTERS_MAX, `${zeroBlocks} zero blocks fit in pointers`);
  const builder = new MutationBuilder(
    blockCount + (pointers ? zeroBlocks : 0),
    zeroRanges.length + blockCount,
    options.zeroForm,
  );
  let next = 0;
  for (let i = 0; i < blockCount; i++) {
    const block = batch.blockIndex(i);
    for (; next < zeroRanges.length && zeroRanges[next].startBlock < block; next++) {
      const { startBlock, blockCount } = zeroRanges[next];
      builder.addZeros(startBlock, startBlock + blockCount);
    }
    const bytes = batch.blockBytes(i);
    if (bytes.length !== options.dataBlockBytes) {
      invariant(false, `a data block of ${options.dataBlockBytes} bytes has ${bytes.length}`);
    }
    if (isZeroData(bytes)) builder.addZeros(block, block + 1);
    else builder.addData(block, bytes);
  }
  for (; next < zeroRanges.length; next++) {
    const { startBlock, blockCount } = zeroRanges[next];
    builder.addZeros(startBlock, startBlock + blockCount);
  }
  return builder;
}

/** Zeroes what lies past the end of the file in its last block, on a copy. */
export function withClearTail(
  mutations: Mutations,
  sizeBytes: number,
  blockBytes: number,
): Mutations {
  const tail = sizeBytes % blockBytes;
  const last = mutations.putCount - 1;
  if (tail === 0 || last < 0 || mutations.putHi[last] !== UNPLACED_HI) return mutations;
  if (mutations.putKeys[last] !== Math.floor(sizeBytes / blockBytes)) return mutations;
  const data = mutations.data.slice();
  const block = data[data.length - 1].slice();
  block.fill(0, tail);
  data[data.length - 1] = block;
  return { ...mutations, data };
}
