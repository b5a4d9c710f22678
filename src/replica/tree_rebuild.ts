// The new nodes of a batch: one pass over the touched part of a tree, bottom up, all in memory.
//
// Splitting: entries appended behind everything that a node held fill nodes to the last slot (a
// sequential fill leaves them full); so does a long run inserted in the middle; otherwise an
// overfull node is split into even parts. Small nodes join a neighbour when that costs no request:
// one that is new as well, or one that is in the cache.

import { invariant } from "../base/assert.ts";
import { isInSegment, offsetOf, type PointerFormat, segmentIdOf } from "../format/block_ptr.ts";
import {
  capacityOfBytes,
  clearUnused,
  countOf,
  DIRECT_BLOCKS,
  directWord,
  emptyRoot,
  findSlot,
  isDirect,
  keyAt,
  LEVEL_MAX,
  levelOf,
  newNode,
  type NodeWords,
  ROOT_BYTES,
  ROOT_CAPACITY,
  setEntry,
  setHeader,
  valueWord,
} from "../format/bmap.ts";
import { type Mutations, UNPLACED_HI } from "./mutations.ts";
import { childRef, type NodeLoader, type NodeRef } from "./node_loader.ts";
import { Entries } from "./tree_entries.ts";

/** Inserted keys that make a run worth packing behind each other. */
const RUN_MIN = 16;
/** A node with room for this many entries stands in for a direct root while it is rebuilt. */
const DIRECT_STAND_IN_BYTES = 8 + 16 * DIRECT_BLOCKS;

export const Slot = { kept: 0, touched: 1, dropped: 2 } as const;

/** A node that the batch reaches, with its share of the batch. */
export interface Touched {
  words: NodeWords;
  readonly endKey: number;
  readonly putFrom: number;
  readonly putTo: number;
  readonly deleteFrom: number;
  readonly deleteTo: number;
  /** Of an inner node: what happens to each child. */
  slots: Uint8Array | null;
  /** The touched children, in order. */
  readonly children: Touched[];
}

export interface RebuildOptions {
  readonly loader: NodeLoader;
  readonly format: PointerFormat;
  readonly metaBlockBytes: number;
}

/** A new tree: its root and its new nodes, which have no place in a segment yet. */
export class TreeChange {
  /** False when the batch changed nothing: the old root stays. */
  readonly changed: boolean;
  root: NodeWords;
  /** New nodes by level; index 0 and the root's level and above are empty. */
  readonly nodes: NodeWords[][];

  constructor(changed: boolean, root: NodeWords, nodes: NodeWords[][]) {
    this.changed = changed;
    this.root = root;
    this.nodes = nodes;
  }

  /** Makes the root take over the entries of its only child, if they fit. */
  hoist(child: NodeWords): boolean {
    const count = countOf(child);
    if (count > ROOT_CAPACITY) return false;
    const root = newNode(ROOT_BYTES);
    root[1] = this.root[1];
    setHeader(root, levelOf(child), count, true);
    for (let i = 0; i < count; i++) {
      const at = valueWord(child, i);
      setEntry(root, i, keyAt(child, i), child[at + 1], child[at]);
    }
    this.root = root;
    return true;
  }
}

/** The only child of a changed tree's root if it lies in a segment, else null. */
export function hoistCandidate(change: TreeChange, format: PointerFormat): NodeRef | null {
  const { root } = change;
  if (!change.changed || isDirect(root) || levelOf(root) < 2 || countOf(root) !== 1) return null;
  return isInSegment(root[valueWord(root, 0) + 1]) ? childRef(root, 0, Infinity, format) : null;
}

/** Rebuilds the tree whose touched nodes hang below `top`; all of them are loaded. */
export function rebuildTree(
  top: Touched,
  mutations: Mutations,
  options: RebuildOptions,
): TreeChange {
  const direct = isDirect(top.words);
  if (direct) {
    const last = mutations.putCount - 1;
    if (last < 0 || mutations.putKeys[last] < DIRECT_BLOCKS) {
      return updateDirect(top.words, mutations);
    }
  }
  const rebuild = new Rebuild(mutations, options);
  return rebuild.run(direct ? { ...top, words: standIn(top.words) } : top, top.words);
}

function updateDirect(old: NodeWords, mutations: Mutations): TreeChange {
  const root = old.slice();
  let changed = false;
  for (let i = 0; i < mutations.deleteCount; i++) {
    const end = Math.min(mutations.deleteEnd[i], DIRECT_BLOCKS);
    for (let block = mutations.deleteStart[i]; block < end; block++) {
      const at = directWord(block);
      changed ||= root[at] !== 0 || root[at + 1] !== 0;
      root[at] = 0;
      root[at + 1] = 0;
    }
  }
  for (let i = 0; i < mutations.putCount; i++) {
    const at = directWord(mutations.putKeys[i]);
    root[at] = mutations.putLo[i];
    root[at + 1] = mutations.putHi[i];
    changed = true;
  }
  return new TreeChange(changed, root, []);
}

/** The live entries of a direct root as a leaf. */
function standIn(root: NodeWords): NodeWords {
  const leaf = newNode(DIRECT_STAND_IN_BYTES);
  let count = 0;
  for (let block = 0; block < DIRECT_BLOCKS; block++) {
    const at = directWord(block);
    if (root[at] === 0 && root[at + 1] === 0) continue;
    setEntry(leaf, count++, block, root[at + 1], root[at]);
  }
  setHeader(leaf, 1, count);
  return leaf;
}

class Rebuild {
  readonly #mutations: Mutations;
  readonly #options: RebuildOptions;
  readonly #capacity: number;
  /** Joined nodes keep room, or the next insertion would split them again. */
  readonly #joinMax: number;
  readonly #nodes: NodeWords[][] = [];
  readonly #scratch: Entries[] = [];

  constructor(mutations: Mutations, options: RebuildOptions) {
    this.#mutations = mutations;
    this.#options = options;
    this.#capacity = capacityOfBytes(options.metaBlockBytes);
    this.#joinMax = Math.floor(this.#capacity * 0.75);
    for (let level = 0; level <= LEVEL_MAX + 1; level++) {
      this.#nodes.push([]);
      this.#scratch.push(new Entries(64));
    }
  }

  run(top: Touched, oldRoot: NodeWords): TreeChange {
    let level = levelOf(top.words);
    let entries = this.#scratch[level];
    if (!this.#rebuild(top, level, entries)) return new TreeChange(false, oldRoot, []);
    let old = top.words;
    while (entries.count > ROOT_CAPACITY) {
      const parents = this.#scratch[level + 1];
      this.#emit(level, entries, old, parents);
      level++;
      entries = parents;
      old = newNode(ROOT_BYTES);
    }
    if (entries.count === 0) return new TreeChange(true, emptyRoot(oldRoot[1]), []);
    const root = newNode(ROOT_BYTES);
    root[1] = oldRoot[1];
    setHeader(root, level, entries.count, true);
    entries.copyTo(root, 0, 0, entries.count);
    const change = new TreeChange(true, root, this.#nodes.slice(0, level));
    while (level > 1 && countOf(change.root) === 1) {
      const at = valueWord(change.root, 0);
      if (change.root[at + 1] !== UNPLACED_HI) break;
      if (!change.hoist(change.nodes[level - 1][change.root[at]])) break;
      invariant(
        change.nodes[level - 1].length === 1,
        "a root's only child is its level's only node",
      );
      change.nodes.length = --level;
    }
    return change;
  }

  /** Appends the new entries of a touched node to `out`. False: nothing changed, `out` is useless. */
  #rebuild(node: Touched, level: number, out: Entries): boolean {
    out.clear();
    return level === 1 ? this.#mergeLeaf(node, out) : this.#rebuildInner(node, level, out);
  }

  #mergeLeaf(node: Touched, out: Entries): boolean {
    const { putKeys, putHi, putLo, deleteStart, deleteEnd } = this.#mutations;
    const { words, putTo, deleteTo } = node;
    const count = countOf(words);
    out.reserve(count + putTo - node.putFrom);
    let put = node.putFrom;
    let del = node.deleteFrom;
    let changed = put < putTo;
    for (let i = 0; i < count; i++) {
      const key = keyAt(words, i);
      while (put < putTo && putKeys[put] < key) out.push(putKeys[put], putHi[put], putLo[put++]);
      if (put < putTo && putKeys[put] === key) {
        out.push(key, putHi[put], putLo[put++]);
        continue;
      }
      while (del < deleteTo && deleteEnd[del] <= key) del++;
      if (del < deleteTo && deleteStart[del] <= key) {
        changed = true;
        continue;
      }
      const at = valueWord(words, i);
      out.push(key, words[at + 1], words[at]);
    }
    while (put < putTo) out.push(putKeys[put], putHi[put], putLo[put++]);
    return changed;
  }

  /** A leaf in which only values change (the common case), or null: it needs a merge. */
  #patchLeaf(node: Touched): NodeWords | null {
    if (node.deleteFrom < node.deleteTo) return null;
    const { putKeys, putHi, putLo } = this.#mutations;
    const { words } = node;
    if (node.putTo - node.putFrom > countOf(words)) return null;
    const patched = words.slice();
    // Other writers leave garbage there.
    clearUnused(patched);
    for (let put = node.putFrom; put < node.putTo; put++) {
      const slot = findSlot(words, putKeys[put]);
      if (slot < 0 || keyAt(words, slot) !== putKeys[put]) return null;
      const at = valueWord(words, slot);
      patched[at] = putLo[put];
      patched[at + 1] = putHi[put];
    }
    return patched;
  }

  #rebuildInner(node: Touched, level: number, out: Entries): boolean {
    const { words } = node;
    const slots = node.slots!;
    const below = this.#scratch[level - 1];
    let next = 0;
    let changed = false;
    for (let slot = 0; slot < slots.length; slot++) {
      if (slots[slot] === Slot.dropped) {
        changed = true;
        continue;
      }
      if (slots[slot] === Slot.touched) {
        const child = node.children[next++];
        const patched = level === 2 ? this.#patchLeaf(child) : null;
        if (patched !== null) {
          changed = true;
          this.#add(1, keyAt(patched, 0), patched, out);
          continue;
        }
        if (this.#rebuild(child, level - 1, below)) {
          changed = true;
          this.#emit(level - 1, below, child.words, out);
          continue;
        }
      }
      out.pushFrom(words, slot, slot + 1);
    }
    return changed;
  }

  /** Makes nodes of `level` from `entries` and appends them to their parent's entries. */
  #emit(level: number, entries: Entries, old: NodeWords, parent: Entries): void {
    if (entries.count === 0 || this.#join(level, entries, parent)) return;
    let from = 0;
    for (const length of pieceLengths(entries, old, this.#capacity)) {
      const to = from + length;
      const { metaBlockBytes } = this.#options;
      this.#add(level, entries.keys[from], entries.toNode(metaBlockBytes, level, from, to), parent);
      from = to;
    }
    invariant(from === entries.count, "a split keeps every entry");
  }

  #add(level: number, firstKey: number, node: NodeWords, parent: Entries): void {
    parent.reserve(1);
    parent.push(firstKey, UNPLACED_HI, this.#nodes[level].length);
    this.#nodes[level].push(node);
  }

  /** Puts few entries into the node before them, if that is at hand and has room. */
  #join(level: number, entries: Entries, parent: Entries): boolean {
    const last = parent.count - 1;
    if (last < 0 || entries.count >= this.#joinMax) return false;
    if (parent.hi[last] === UNPLACED_HI) {
      const left = this.#nodes[level][parent.lo[last]];
      const leftCount = countOf(left);
      if (leftCount + entries.count > this.#joinMax) return false;
      entries.copyTo(left, leftCount, 0, entries.count);
      setHeader(left, level, leftCount + entries.count);
      return true;
    }
    if (entries.count > this.#capacity >>> 2) return false;
    const { loader, format, metaBlockBytes } = this.#options;
    const left = loader.peek({
      segmentId: segmentIdOf(parent.hi[last]),
      offset: offsetOf(parent.lo[last], format),
      level,
      firstKey: parent.keys[last],
      endKey: entries.keys[0],
    });
    if (left === undefined || countOf(left) + entries.count > this.#joinMax) return false;
    const joined = new Entries(countOf(left) + entries.count);
    joined.pushFrom(left, 0, countOf(left));
    for (let i = 0; i < entries.count; i++) {
      joined.push(entries.keys[i], entries.hi[i], entries.lo[i]);
    }
    parent.count--;
    const node = joined.toNode(metaBlockBytes, level, 0, joined.count);
    this.#add(level, joined.keys[0], node, parent);
    return true;
  }
}

/** How many entries each of the nodes gets that `entries` (made from the node `old`) needs. */
export function pieceLengths(entries: Entries, old: NodeWords, capacity: number): number[] {
  const { count, keys } = entries;
  if (count <= capacity) return [count];
  const oldCount = countOf(old);
  let head = 0;
  while (head < oldCount && keyAt(old, head) === keys[head]) head++;
  let tail = 0;
  while (tail < oldCount - head && keyAt(old, oldCount - 1 - tail) === keys[count - 1 - tail]) {
    tail++;
  }
  if (head + tail === oldCount && (tail === 0 || count - oldCount >= RUN_MIN)) {
    const packed = fullPieces(count - tail, capacity);
    if (tail === 0) return packed;
    const room = capacity - packed[packed.length - 1];
    if (tail <= room) packed[packed.length - 1] += tail;
    else packed.push(tail);
    return packed;
  }
  const pieces = Math.ceil(count / capacity);
  const lengths: number[] = [];
  for (let i = 0; i < pieces; i++) {
    lengths.push(Math.floor(count * (i + 1) / pieces) - Math.floor(count * i / pieces));
  }
  return lengths;
}

function fullPieces(count: number, capacity: number): number[] {
  const lengths = new Array<number>(Math.floor(count / capacity)).fill(capacity);
  if (count % capacity > 0) lengths.push(count % capacity);
  return lengths;
}
