// The block map: a B+tree from block index (key) to block pointer (value). The root (56 bytes) lives
// in the inode, all other nodes are one meta block each.
//
// A node is handled as the Uint32Array of its own bytes, its capacity follows from its length:
//   word 0: flags (8 bits), level (8 bits), count of children (16 bits);  word 1: user data
//   keys from word 2, values after `capacity` keys, both as (lo, hi) pairs
// The host must be little-endian for that; checked at import.
//
// Invariants of every node that check*() has passed: keys strictly ascending and below 2^53, level
// and flags consistent, every value a zero block (leaf only) or a place in a segment that is not
// younger than the node's own.

import { invariant } from "../base/assert.ts";
import { struct, u16, u32, u8 } from "../base/struct.ts";
import {
  describePointer,
  isInSegment,
  isZeroBlock,
  offsetOf,
  POINTER_UNIT_BYTES,
  type PointerFormat,
  segmentIdOf,
} from "./block_ptr.ts";

/** The first 8 bytes of every node; hot code reads them as two words. */
export const NodeHeader = struct("NodeHeader", 8, {
  flags: u8,
  level: u8,
  nchildren: u16,
  userData: u32,
});

export const ROOT_BYTES = 56;
export const ROOT_CAPACITY = 3;
/** Block indexes that the root's direct form can map. */
export const DIRECT_BLOCKS = 6;
export const LEVEL_MAX = 13;

export const NodeFlag = { large: 1, leaf: 2 } as const;

const HEADER_WORDS = NodeHeader.size / 4;
const TWO_32 = 2 ** 32;
const KEY_HI_LIMIT = 2 ** 21;

invariant(
  new Uint8Array(new Uint32Array([1]).buffer)[0] === 1,
  "this machine is little-endian, as the format's integers are",
);

export type NodeWords = Uint32Array<ArrayBuffer>;

/** An empty node of `blockBytes`. */
export function newNode(blockBytes: number): NodeWords {
  return new Uint32Array(blockBytes >>> 2);
}

/** The words of a root, copied out of an inode. */
export function rootWords(bmap: Uint8Array): NodeWords {
  invariant(bmap.length === ROOT_BYTES, `a root has ${ROOT_BYTES} bytes`);
  return new Uint32Array(bmap.slice().buffer);
}

/** The bytes of a node, as a view. */
export function nodeBytes(words: NodeWords): Uint8Array<ArrayBuffer> {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

export function capacityOf(words: NodeWords): number {
  return (words.length - HEADER_WORDS) >>> 2;
}

export function capacityOfBytes(blockBytes: number): number {
  return ((blockBytes >>> 2) - HEADER_WORDS) >>> 2;
}

export function flagsOf(words: NodeWords): number {
  return words[0] & 0xff;
}

export function levelOf(words: NodeWords): number {
  return (words[0] >>> 8) & 0xff;
}

export function countOf(words: NodeWords): number {
  return words[0] >>> 16;
}

export function isDirect(root: NodeWords): boolean {
  return (root[0] & NodeFlag.large) === 0;
}

/** Writes flags, level and count; `root` sets LARGE. User data stays. */
export function setHeader(words: NodeWords, level: number, count: number, root = false): void {
  const flags = (root ? NodeFlag.large : 0) | (level === 1 ? NodeFlag.leaf : 0);
  words[0] = (flags | (level << 8) | (count << 16)) >>> 0;
}

export function keyAt(words: NodeWords, index: number): number {
  const at = HEADER_WORDS + 2 * index;
  return words[at] + words[at + 1] * TWO_32;
}

/** Word index of value `index`: its lo half; the hi half follows. */
export function valueWord(words: NodeWords, index: number): number {
  return HEADER_WORDS + 2 * ((words.length - HEADER_WORDS) >>> 2) + 2 * index;
}

/** Word index of value `index` of a direct root. */
export function directWord(index: number): number {
  return HEADER_WORDS + 2 * index;
}

export function setEntry(
  words: NodeWords,
  index: number,
  key: number,
  hi: number,
  lo: number,
): void {
  const at = HEADER_WORDS + 2 * index;
  words[at] = key % TWO_32;
  words[at + 1] = key / TWO_32;
  const value = at + 2 * ((words.length - HEADER_WORDS) >>> 2);
  words[value] = lo;
  words[value + 1] = hi;
}

/** Zeroes the user data, the unused slots and the slack of a node other than the root. */
export function clearUnused(words: NodeWords): void {
  const count = countOf(words);
  const firstValue = valueWord(words, 0);
  words[1] = 0;
  words.fill(0, HEADER_WORDS + 2 * count, firstValue);
  words.fill(0, firstValue + 2 * count);
}

/** Greatest index whose key is not above `key`, or -1. */
export function findSlot(words: NodeWords, key: number): number {
  let low = 0;
  let high = countOf(words);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyAt(words, middle) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** What the parent promises about a node. */
export interface NodePlace {
  readonly level: number;
  readonly firstKey: number;
  /** All keys are below this. */
  readonly endKey: number;
}

/** Checks a node against its place in the tree; the reason why not, else null. Cheap: per visit. */
export function placeProblem(words: NodeWords, place: NodePlace): string | null {
  if (levelOf(words) !== place.level) {
    return `level ${levelOf(words)} where the parent needs ${place.level}`;
  }
  if (keyAt(words, 0) !== place.firstKey) {
    return `first key ${keyAt(words, 0)} where the parent has ${place.firstKey}`;
  }
  const last = keyAt(words, countOf(words) - 1);
  if (last >= place.endKey) return `key ${last} is not below the next node's ${place.endKey}`;
  return null;
}

export interface PointerLimits {
  readonly format: PointerFormat;
  /** No pointer may name a younger segment. */
  readonly segmentIdMax: number;
}

/** Checks one live pointer; the reason why not, else null. */
export function pointerProblem(
  hi: number,
  lo: number,
  leaf: boolean,
  limits: PointerLimits,
): string | null {
  if (!isInSegment(hi)) {
    if (leaf && isZeroBlock(hi, lo)) return null;
    return `${describePointer(hi, lo, limits.format)} in a live slot`;
  }
  if (segmentIdOf(hi) > limits.segmentIdMax) {
    return `pointer to segment ${segmentIdOf(hi)}, younger than ${limits.segmentIdMax}`;
  }
  const offset = offsetOf(lo, limits.format);
  if (offset % POINTER_UNIT_BYTES !== 0 || offset === 0) {
    return `pointer to offset ${offset}`;
  }
  return null;
}

function entriesProblem(words: NodeWords, leaf: boolean, limits: PointerLimits): string | null {
  const count = countOf(words);
  let previous = -1;
  for (let i = 0; i < count; i++) {
    const keyWord = HEADER_WORDS + 2 * i;
    if (words[keyWord + 1] >= KEY_HI_LIMIT) return `key ${i} is above 2^53`;
    const key = words[keyWord] + words[keyWord + 1] * TWO_32;
    if (key <= previous) return `key ${key} follows ${previous}`;
    previous = key;
    const at = valueWord(words, i);
    const problem = pointerProblem(words[at + 1], words[at], leaf, limits);
    if (problem !== null) return `${problem} (key ${key})`;
  }
  return null;
}

/** Checks the contents of a node other than the root; the reason why not, else null. */
export function nodeProblem(words: NodeWords, limits: PointerLimits): string | null {
  const level = levelOf(words);
  const count = countOf(words);
  if (level < 1 || level >= LEVEL_MAX) return `level ${level}`;
  if (flagsOf(words) !== (level === 1 ? NodeFlag.leaf : 0)) {
    return `flags 0x${flagsOf(words).toString(16)} at level ${level}`;
  }
  if (count < 1 || count > capacityOf(words)) {
    return `${count} children in a node for ${capacityOf(words)}`;
  }
  return entriesProblem(words, level === 1, limits);
}

/** Checks a root of either form; the reason why not, else null. */
export function rootProblem(root: NodeWords, limits: PointerLimits): string | null {
  if (isDirect(root)) {
    for (let i = 0; i < DIRECT_BLOCKS; i++) {
      const lo = root[directWord(i)];
      const hi = root[directWord(i) + 1];
      if (hi === 0 && lo === 0) continue;
      const problem = pointerProblem(hi, lo, true, limits);
      if (problem !== null) return `${problem} (block ${i})`;
    }
    return null;
  }
  const level = levelOf(root);
  if (level < 1 || level > LEVEL_MAX) return `level ${level}`;
  if (flagsOf(root) !== (NodeFlag.large | (level === 1 ? NodeFlag.leaf : 0))) {
    return `flags 0x${flagsOf(root).toString(16)} at level ${level}`;
  }
  if (countOf(root) < 1 || countOf(root) > ROOT_CAPACITY) return `${countOf(root)} children`;
  return entriesProblem(root, level === 1, limits);
}

/** An empty root of the direct form, keeping `userData`. */
export function emptyRoot(userData: number): NodeWords {
  const root = newNode(ROOT_BYTES);
  root[0] = 1 << 8;
  root[1] = userData;
  return root;
}
