// A place in a tree that is being walked in order of keys, one node at a time: at an entry of a leaf, or
// at a child that is either skipped or descended into.
//
// Invariant: each frame's slot lies inside its node, so the cursor is always at something until it is
// done. Nodes below the root are the loader's, which has checked them against their place.

import { offsetOf, type PointerFormat } from "../format/block_ptr.ts";
import {
  countOf,
  DIRECT_BLOCKS,
  directWord,
  findSlot,
  isDirect,
  keyAt,
  levelOf,
  type NodeWords,
  valueWord,
} from "../format/bmap.ts";
import { childRef, type NodeRef } from "./node_loader.ts";
import { Entries } from "./tree_entries.ts";

/** Header, and a key and a value for each block of a direct root. */
const DIRECT_LEAF_BYTES = 8 + 16 * DIRECT_BLOCKS;

interface Frame {
  readonly words: NodeWords;
  /** All keys of the node are below this. */
  readonly endKey: number;
  slot: number;
  /** Children after `slot`, or at it, that are loaded already. */
  readonly loaded: Map<number, NodeWords>;
}

/** A direct root as the leaf that it stands for: its holes are keys that are not there. */
function leafOf(root: NodeWords): NodeWords {
  const entries = new Entries(DIRECT_BLOCKS);
  for (let block = 0; block < DIRECT_BLOCKS; block++) {
    const at = directWord(block);
    if (root[at] !== 0 || root[at + 1] !== 0) entries.push(block, root[at + 1], root[at]);
  }
  return entries.toNode(DIRECT_LEAF_BYTES, 1, 0, entries.count);
}

export class TreeCursor {
  readonly #format: PointerFormat;
  readonly #frames: Frame[] = [];

  /** At the first entry of a root of either form that checkRoot() has passed. */
  constructor(root: NodeWords, format: PointerFormat) {
    this.#format = format;
    this.#enter(isDirect(root) ? leafOf(root) : root, Infinity);
  }

  get isDone(): boolean {
    return this.#frames.length === 0;
  }

  /** The block of the entry, or the first one of the child; Infinity at the end. */
  get key(): number {
    const top = this.#frames.at(-1);
    return top === undefined ? Infinity : keyAt(top.words, top.slot);
  }

  /** 0: at an entry of a leaf; else the level of the child. */
  get level(): number {
    const top = this.#frames.at(-1);
    return top === undefined ? 0 : levelOf(top.words) - 1;
  }

  /** Whether both are at the same place of a segment, or at the same special value. */
  pointsWhere(other: TreeCursor): boolean {
    const [mine, theirs] = [this.#frames.at(-1), other.#frames.at(-1)];
    if (mine === undefined || theirs === undefined) return false;
    return this.#samePointer(mine, mine.slot, theirs, theirs.slot);
  }

  /** To what follows the entry, or the child with all that is below it. */
  advance(): void {
    for (let top = this.#frames.at(-1); top !== undefined; top = this.#frames.at(-1)) {
      if (++top.slot < countOf(top.words)) return;
      this.#frames.pop();
    }
  }

  /** Whether the child need not be loaded any more. */
  get isLoaded(): boolean {
    const top = this.#frames.at(-1);
    return top !== undefined && top.loaded.has(top.slot);
  }

  /**
   * The child, and up to `max` - 1 of its later siblings of which it is certain, from where `other` is,
   * that the other tree does not have them: all of them have to be read.
   */
  wanted(other: TreeCursor, max: number): { slot: number; ref: NodeRef }[] {
    const top = this.#frames[this.#frames.length - 1];
    const { words, endKey, slot: at } = top;
    const beside = other.#frames.find((frame) => levelOf(frame.words) === levelOf(words));
    const wanted: { slot: number; ref: NodeRef }[] = [];
    for (let slot = at; slot < countOf(words) && wanted.length < max; slot++) {
      const key = keyAt(words, slot);
      // Below the other one's key: there the other tree has nothing left that this one was not compared with.
      if (slot > at && key >= other.key) {
        if (beside === undefined || key >= beside.endKey) break;
        const match = findSlot(beside.words, key);
        if (match >= 0 && this.#samePointer(top, slot, beside, match)) continue;
      }
      wanted.push({ slot, ref: childRef(words, slot, endKey, this.#format) });
    }
    return wanted;
  }

  /** Takes the node of child `slot`. */
  hold(slot: number, words: NodeWords): void {
    this.#frames[this.#frames.length - 1].loaded.set(slot, words);
  }

  /** To the first entry or child of the child, which is loaded. */
  descend(): void {
    const top = this.#frames[this.#frames.length - 1];
    const words = top.loaded.get(top.slot)!;
    top.loaded.delete(top.slot);
    const { endKey } = childRef(top.words, top.slot, top.endKey, this.#format);
    this.#enter(words, endKey);
  }

  #enter(words: NodeWords, endKey: number): void {
    if (countOf(words) > 0) this.#frames.push({ words, endKey, slot: 0, loaded: new Map() });
  }

  /** Offsets are compared, as readers ignore the rest of a pointer's low half. */
  #samePointer(mine: Frame, mySlot: number, theirs: Frame, theirSlot: number): boolean {
    const a = valueWord(mine.words, mySlot);
    const b = valueWord(theirs.words, theirSlot);
    return mine.words[a + 1] === theirs.words[b + 1] &&
      offsetOf(mine.words[a], this.#format) === offsetOf(theirs.words[b], this.#format);
  }
}
