// Which blocks differ between two block maps of one replica: those whose pointers are not the same, and
// those that only one of the two has - also where segments list nothing, as for blocks that became holes.
//
// Two cursors go through both trees in order of keys. A node that both have is at one address, has one
// first key and one level, and is never read:
//
//   the smaller key    is not in the other tree: an entry differs, a child is descended into
//   the same key       the same pointer: both skip it; else the child of the higher level is descended
//                      into, or both of one level; two entries differ
//
// Why no node that both have is missed: let a child be in both trees, with first key k. All that lies
// before k is dealt with before anything at k, as the cursor with the smaller key moves. Once both are
// at k, only what is above the child can be at a higher level, and it is not in the other tree: else the
// other cursor, being at k too, would be at it or above it. So both come to the child, and skip it. What is
// read is what only one of the trees has, each node once.
//
// Siblings that are certain to be read too come with the same requests.
//
// Callers: orphans.ts, src/replicator/attach_facts.ts.

import { dataError } from "../base/errors.ts";
import { rootWords } from "../format/bmap.ts";
import type { BlockRange } from "../format/checkpoint_batch.ts";
import { type Geometry, geometryOf, type Inode, INODE_KEY } from "../format/inode.ts";
import { segmentKey } from "../format/segment.ts";
import { Limiter } from "./limiter.ts";
import { NodeLoader } from "./node_loader.ts";
import type { ObjectStore } from "./object_store.ts";
import { TreeCursor } from "./tree_cursor.ts";
import { checkRoot } from "./tree_walk.ts";

const CONCURRENCY = 16;
/** Nodes that are loaded together, of each tree: leaves and, above them, fewer. */
const LEAF_WINDOW = 64;
const INNER_WINDOW = 8;

/** Two checkpoints of one replica, by the inodes that their segments carry. */
export interface TwoTrees {
  readonly before: Inode;
  readonly after: Inode;
}

export interface DiffOptions {
  /** Tree nodes that may be read, of both trees together. */
  readonly nodesMax: number;
  readonly signal?: AbortSignal;
}

/** Whether all differences were found, or the bound on the nodes was reached before. */
export interface DiffEnd {
  readonly isWhole: boolean;
}

/**
 * The blocks that differ, as ascending runs; one may go on in the next. Reads as it is asked for more, and
 * only nodes that one tree alone has. Throws `data` where it meets damage, as a reader of the trees would.
 */
export async function* changedBlocks(
  store: ObjectStore,
  { before, after }: TwoTrees,
  { nodesMax, signal }: DiffOptions,
): AsyncGenerator<BlockRange, DiffEnd> {
  const geometry = commonGeometry(before, after);
  const old = cursorOf(before, geometry);
  const young = cursorOf(after, geometry);
  const reader = new DiffReader(store, geometry, { nodesMax, signal });
  const run = new OpenRun();
  while (!old.isDone || !young.isDone) {
    if (isSame(old, young)) {
      old.advance();
      young.advance();
      continue;
    }
    const movers = moversOf(old, young);
    if (movers[0].level === 0) {
      const { key } = movers[0];
      for (const cursor of movers) cursor.advance();
      const done = run.add(key);
      if (done !== null) yield done;
      continue;
    }
    if (movers.some((cursor) => !cursor.isLoaded)) {
      // What is known is told before anything is read for more.
      const known = run.take();
      if (known !== null) yield known;
      if (!await reader.load(movers, movers[0] === old ? young : old)) return { isWhole: false };
    }
    for (const cursor of movers) cursor.descend();
  }
  const last = run.take();
  if (last !== null) yield last;
  return { isWhole: true };
}

/**
 * The first block that differs and is one that `isWanted`; null: there is none among those that were
 * looked at, which are all of them if `isWhole`. Errors as of changedBlocks().
 */
export async function findChanged(
  store: ObjectStore,
  trees: TwoTrees,
  { isWanted, ...options }: DiffOptions & { isWanted: (block: number) => boolean },
): Promise<DiffEnd & { readonly block: number | null }> {
  const changed = changedBlocks(store, trees, options);
  for (;;) {
    const { done, value } = await changed.next();
    if (done) return { ...value, block: null };
    for (let i = 0; i < value.blockCount; i++) {
      const block = value.startBlock + i;
      if (isWanted(block)) return { isWhole: false, block };
    }
  }
}

/** Whether both are at one entry, or at one node: then nothing below it differs. */
function isSame(old: TreeCursor, young: TreeCursor): boolean {
  return old.key === young.key && old.level === young.level && old.pointsWhere(young);
}

/** The cursors that move when what they are at is not the same. */
function moversOf(old: TreeCursor, young: TreeCursor): TreeCursor[] {
  if (old.key !== young.key) return [old.key < young.key ? old : young];
  if (old.level !== young.level) return [old.level > young.level ? old : young];
  return [old, young];
}

function commonGeometry(before: Inode, after: Inode): Geometry {
  const [one, other] = [before, after].map((inode) => geometryOf(inode, objectOf(inode)));
  const isSame = one.metaBlockBytes === other.metaBlockBytes &&
    one.dataBlockBytes === other.dataBlockBytes && one.pointerFormat === other.pointerFormat;
  if (isSame) return one;
  const object = objectOf(after);
  throw dataError(`Cannot compare ${object} with ${objectOf(before)}: their block sizes differ`, {
    context: { object },
  });
}

function objectOf({ lastCno }: Inode): string {
  return lastCno === 0 ? INODE_KEY : segmentKey(lastCno);
}

function cursorOf(inode: Inode, { pointerFormat: format }: Geometry): TreeCursor {
  const root = rootWords(inode.bmap);
  checkRoot(root, { format, segmentIdMax: inode.lastCno }, objectOf(inode));
  return new TreeCursor(root, format);
}

/** Loads what cursors are at, up to a number of nodes. */
class DiffReader {
  readonly #loader: NodeLoader;
  readonly #signal: AbortSignal | undefined;
  #left: number;

  constructor(store: ObjectStore, geometry: Geometry, { nodesMax, signal }: DiffOptions) {
    const { metaBlockBytes, pointerFormat: format } = geometry;
    const limiter = new Limiter(CONCURRENCY);
    this.#loader = new NodeLoader({ store, limiter, metaBlockBytes, format, cacheBytes: 0 });
    this.#signal = signal;
    this.#left = nodesMax;
  }

  /** False: that would be too many. `other` is the cursor that the first one is compared with. */
  async load(movers: readonly TreeCursor[], other: TreeCursor): Promise<boolean> {
    const missing = movers.filter((cursor) => !cursor.isLoaded);
    const share = Math.floor(this.#left / missing.length);
    if (share === 0) return false;
    const loads = missing.flatMap((cursor) => {
      const window = cursor.level === 1 ? LEAF_WINDOW : INNER_WINDOW;
      const beside = cursor === movers[0] ? other : movers[0];
      return cursor.wanted(beside, Math.min(window, share)).map((load) => ({ cursor, ...load }));
    });
    this.#left -= loads.length;
    const nodes = await this.#loader.load(loads.map(({ ref }) => ref), this.#signal);
    loads.forEach(({ cursor, slot }, i) => cursor.hold(slot, nodes[i]));
    return true;
  }
}

/** Collects neighbouring blocks. */
class OpenRun {
  #startBlock = 0;
  #blockCount = 0;

  /** The run that `block` does not continue, if there is one. */
  add(block: number): BlockRange | null {
    if (this.#blockCount > 0 && block === this.#startBlock + this.#blockCount) {
      this.#blockCount++;
      return null;
    }
    const done = this.take();
    this.#startBlock = block;
    this.#blockCount = 1;
    return done;
  }

  take(): BlockRange | null {
    if (this.#blockCount === 0) return null;
    const run = { startBlock: this.#startBlock, blockCount: this.#blockCount };
    this.#blockCount = 0;
    return run;
  }
}
