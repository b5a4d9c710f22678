// Walking the mapped blocks of a tree in order of block index, without holding more of it than one
// path and a window of leaves.

import { dataError } from "../base/errors.ts";
import {
  isInSegment,
  isZeroBlock,
  offsetOf,
  type PointerFormat,
  segmentIdOf,
} from "../format/block_ptr.ts";
import {
  countOf,
  DIRECT_BLOCKS,
  directWord,
  findSlot,
  isDirect,
  keyAt,
  levelOf,
  type NodeWords,
  rootProblem,
  valueWord,
} from "../format/bmap.ts";
import { childRef, type NodeLoader, type NodeRef } from "./node_loader.ts";

/** Nodes that are loaded together: leaves and, above them, fewer. */
const LEAF_WINDOW = 64;
const INNER_WINDOW = 8;

/** Neighbouring blocks that lie next to each other in one segment. */
export interface Extent {
  readonly startBlock: number;
  readonly blockCount: number;
  readonly segmentId: number;
  readonly offsetBytes: number;
}

export interface TreeView {
  readonly root: NodeWords;
  readonly loader: NodeLoader;
  readonly format: PointerFormat;
  readonly dataBlockBytes: number;
}

/** Throws a data error unless `root` is sound; `object` is where it was read. */
export function checkRoot(
  root: NodeWords,
  limits: { format: PointerFormat; segmentIdMax: number },
  object: string,
): void {
  const problem = rootProblem(root, limits);
  if (problem === null) return;
  throw dataError(`Cannot read the root of the block map in ${object}: ${problem}`, {
    context: { object },
    hint: "The replica is damaged there; an earlier checkpoint may be whole.",
  });
}

/** Collects neighbouring blocks into extents. */
class ExtentBuilder {
  readonly extents: Extent[] = [];
  readonly #tree: TreeView;
  #startBlock = 0;
  #blockCount = 0;
  #segmentId = 0;
  #offsetBytes = 0;

  constructor(tree: TreeView) {
    this.#tree = tree;
  }

  add(block: number, hi: number, lo: number): void {
    if (!isInSegment(hi)) return;
    const segmentId = segmentIdOf(hi);
    const offset = offsetOf(lo, this.#tree.format);
    if (
      this.#blockCount > 0 && segmentId === this.#segmentId &&
      block === this.#startBlock + this.#blockCount &&
      offset === this.#offsetBytes + this.#blockCount * this.#tree.dataBlockBytes
    ) {
      this.#blockCount++;
      return;
    }
    this.flush();
    this.#startBlock = block;
    this.#blockCount = 1;
    this.#segmentId = segmentId;
    this.#offsetBytes = offset;
  }

  flush(): void {
    if (this.#blockCount === 0) return;
    this.extents.push({
      startBlock: this.#startBlock,
      blockCount: this.#blockCount,
      segmentId: this.#segmentId,
      offsetBytes: this.#offsetBytes,
    });
    this.#blockCount = 0;
  }
}

function addLeaf(builder: ExtentBuilder, leaf: NodeWords, start: number, end: number): void {
  const count = countOf(leaf);
  for (let i = Math.max(0, findSlot(leaf, start)); i < count; i++) {
    const key = keyAt(leaf, i);
    if (key < start) continue;
    if (key >= end) return;
    const at = valueWord(leaf, i);
    builder.add(key, leaf[at + 1], leaf[at]);
  }
}

/** The extents of one leaf. */
export function extentsOfLeaf(tree: TreeView, leaf: NodeWords): Extent[] {
  const builder = new ExtentBuilder(tree);
  addLeaf(builder, leaf, 0, Infinity);
  builder.flush();
  return builder.extents;
}

async function* walkNode(
  tree: TreeView,
  node: NodeWords,
  range: { start: number; end: number; endKey: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent[]> {
  const childLevel = levelOf(node) - 1;
  const window = childLevel === 1 ? LEAF_WINDOW : INNER_WINDOW;
  const count = countOf(node);
  let slot = Math.max(0, findSlot(node, range.start));
  while (slot < count && keyAt(node, slot) < range.end) {
    const refs: NodeRef[] = [];
    while (refs.length < window && slot < count && keyAt(node, slot) < range.end) {
      refs.push(childRef(node, slot++, range.endKey, tree.format));
    }
    const children = await tree.loader.load(refs, signal);
    if (childLevel === 1) {
      const builder = new ExtentBuilder(tree);
      for (const leaf of children) addLeaf(builder, leaf, range.start, range.end);
      builder.flush();
      if (builder.extents.length > 0) yield builder.extents;
    } else {
      for (let i = 0; i < refs.length; i++) {
        yield* walkNode(tree, children[i], { ...range, endKey: refs[i].endKey }, signal);
      }
    }
  }
}

/**
 * Extents of the blocks `start` to `end - 1` that hold data (zero blocks and holes are left out), in
 * ascending order, in batches that come from up to 64 leaves each. An extent may go on in the next.
 */
export async function* walkExtents(
  tree: TreeView,
  start: number,
  end: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent[]> {
  if (start >= end) return;
  const { root } = tree;
  if (!isDirect(root) && levelOf(root) > 1) {
    yield* walkNode(tree, root, { start, end, endKey: Infinity }, signal);
    return;
  }
  const builder = new ExtentBuilder(tree);
  if (isDirect(root)) {
    for (let i = start; i < Math.min(end, DIRECT_BLOCKS); i++) {
      const at = directWord(i);
      if (!isZeroBlock(root[at + 1], root[at])) builder.add(i, root[at + 1], root[at]);
    }
  } else addLeaf(builder, root, start, end);
  builder.flush();
  if (builder.extents.length > 0) yield builder.extents;
}
