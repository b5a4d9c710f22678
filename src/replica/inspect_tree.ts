// The whole tree of a checkpoint, walked past any damage: a node that can't be used is reported with
// its error, and the walk goes on with its next sibling. Every mapped block is compared with the
// entry in its segment, as the reader does.
//
// Memory: one path, a window of nodes, the lists up to their limits, and a few numbers per segment.

import { isZeroBlock } from "../format/block_ptr.ts";
import {
  capacityOf,
  countOf,
  DIRECT_BLOCKS,
  directWord,
  isDirect,
  keyAt,
  LEVEL_MAX,
  levelOf,
  type NodeWords,
  ROOT_CAPACITY,
  rootWords,
  valueWord,
} from "../format/bmap.ts";
import { type Geometry, INODE_KEY, InodeRecord } from "../format/inode.ts";
import { parseSegmentKey, SegmentHeader, segmentKey } from "../format/segment.ts";
import { MiB } from "../base/units.ts";
import { usageError } from "../base/errors.ts";
import { type InodeReport, inspectInode, problemOf, type RootReport } from "./inspect_record.ts";
import { type CutList, ListBuilder } from "./inspect_segment.ts";
import { Limiter } from "./limiter.ts";
import { childRef, NodeLoader, type NodeRef } from "./node_loader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { SegmentIndex } from "./segment_index.ts";
import { type Extent, extentsOfLeaf, type TreeView, walkExtents } from "./tree_walk.ts";

const CONCURRENCY = 16;
const CACHE_BYTES = 16 * MiB;
/** Siblings that are read together. */
const WINDOW = 64;

export interface TreeNodeReport {
  /** 0 for the root. */
  readonly depth: number;
  readonly level: number;
  readonly object: string;
  readonly offset: number;
  readonly firstKey: number | null;
  /** Key of the last entry: above the leaves, where its child begins. Null: it can't be used. */
  readonly lastKey: number | null;
  readonly count: number | null;
  readonly capacity: number;
  readonly problem: string | null;
}

export interface LevelReport {
  readonly level: number;
  nodes: number;
  damaged: number;
  children: number;
  slots: number;
}

export interface SegmentSpace {
  readonly segmentId: number;
  /** Of the object; null when it is missing. */
  sizeBytes: number | null;
  /** What this checkpoint still uses of it. */
  nodes: number;
  blocks: number;
}

export interface TreeReport {
  readonly uri: string;
  readonly inode: InodeReport;
  readonly nodes: CutList<TreeNodeReport>;
  /** From the root's level down. */
  readonly levels: readonly LevelReport[];
  readonly dataBlocks: number;
  readonly zeroBlocks: number;
  readonly dataBytes: number;
  /** Those that the checkpoint uses, in ascending order. */
  readonly segments: CutList<SegmentSpace>;
  readonly segmentsBytes: number;
  readonly usedBytes: number;
  readonly damaged: number;
}

export interface InspectTreeOptions extends RequestOptions {
  /** The segment whose inode is the root; the inode object when left out. */
  readonly cno?: number;
  readonly limit: number;
}

/** The inode object, or the inode in segment `cno`. */
export async function readRawInode(
  store: ObjectStore,
  options: RequestOptions & { cno?: number },
): Promise<InodeReport & { readonly raw: Uint8Array }> {
  const { cno, signal } = options;
  const object = cno === undefined ? INODE_KEY : segmentKey(cno);
  const offset = cno === undefined ? 0 : SegmentHeader.offset.inode;
  const range = { offset, length: InodeRecord.size };
  const body = await store.get(object, { range, signal });
  if (body === null) {
    throw usageError(`Cannot inspect ${store.uri}: there is no object "${object}"`, {
      context: { object },
    });
  }
  const raw = body.bytes.subarray(0, InodeRecord.size);
  return { ...inspectInode(raw, object, offset), raw };
}

/** Walks the tree of a checkpoint. */
export async function inspectTree(
  store: ObjectStore,
  options: InspectTreeOptions,
): Promise<TreeReport> {
  const { raw, ...inode } = await readRawInode(store, options);
  const walk = inode.geometry === null || !canWalk(inode.root)
    ? null
    : new TreeInspection(store, inode.geometry, { raw, object: inode, ...options });
  await walk?.run();
  return { uri: store.uri, inode, ...(walk?.result ?? EMPTY) };
}

/** A root with a damaged entry still leads to the others. */
function canWalk(root: RootReport | null): boolean {
  if (root === null || root.form === "direct") return root !== null;
  return root.level >= 1 && root.level <= LEVEL_MAX && root.count >= 1 &&
    root.count <= ROOT_CAPACITY;
}

const EMPTY = {
  nodes: { total: 0, listed: [] },
  levels: [],
  dataBlocks: 0,
  zeroBlocks: 0,
  dataBytes: 0,
  segments: { total: 0, listed: [] },
  segmentsBytes: 0,
  usedBytes: 0,
  damaged: 0,
};

class TreeInspection {
  readonly #store: ObjectStore;
  readonly #geometry: Geometry;
  readonly #tree: TreeView;
  readonly #index: SegmentIndex;
  readonly #place: { readonly object: string; readonly offset: number };
  readonly #limit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #nodes: ListBuilder<TreeNodeReport>;
  readonly #levels = new Map<number, LevelReport>();
  readonly #segments = new Map<number, SegmentSpace>();
  #dataBlocks = 0;
  #zeroBlocks = 0;

  constructor(
    store: ObjectStore,
    geometry: Geometry,
    options: InspectTreeOptions & { raw: Uint8Array; object: InodeReport },
  ) {
    const { raw, limit, signal, object } = options;
    this.#store = store;
    this.#geometry = geometry;
    this.#place = { object: object.object, offset: object.offset + InodeRecord.offset.bmap };
    this.#limit = limit;
    this.#signal = signal;
    this.#nodes = new ListBuilder(limit);
    const limiter = new Limiter(CONCURRENCY);
    const { metaBlockBytes, dataBlockBytes, pointerFormat: format } = geometry;
    const cacheBytes = CACHE_BYTES;
    const loader = new NodeLoader({ store, limiter, metaBlockBytes, format, cacheBytes });
    const root = rootWords(raw.subarray(InodeRecord.offset.bmap, InodeRecord.size));
    this.#tree = { root, loader, format, dataBlockBytes };
    this.#index = new SegmentIndex({ store, limiter, geometry, cacheBytes });
  }

  async run(): Promise<void> {
    const { root } = this.#tree;
    const direct = isDirect(root);
    const leaf = direct || levelOf(root) === 1;
    const extents: Extent[] = [];
    if (leaf) {
      for await (const some of walkExtents(this.#tree, 0, Infinity)) extents.push(...some);
      this.#countZeros(root, direct);
    }
    const problem = leaf ? await this.#checkExtents(extents) : null;
    const count = direct ? extents.reduce((n, { blockCount }) => n + blockCount, 0) : countOf(root);
    const capacity = direct ? DIRECT_BLOCKS : ROOT_CAPACITY;
    const keys = direct ? null : { firstKey: keyAt(root, 0), lastKey: keyAt(root, count - 1) };
    this.#add({
      depth: 0,
      level: direct ? 1 : levelOf(root),
      ...this.#place,
      firstKey: keys?.firstKey ?? extents.at(0)?.startBlock ?? null,
      lastKey: keys?.lastKey ?? lastBlock(extents),
      count,
      capacity,
      problem,
    });
    if (!leaf) await this.#children(root, 1, Infinity);
    await this.#measureSegments();
  }

  get result() {
    const segments = [...this.#segments.values()].sort((a, b) => a.segmentId - b.segmentId);
    const { metaBlockBytes, dataBlockBytes } = this.#geometry;
    let usedBytes = 0;
    let segmentsBytes = 0;
    for (const { nodes, blocks, sizeBytes } of segments) {
      usedBytes += nodes * metaBlockBytes + blocks * dataBlockBytes;
      segmentsBytes += sizeBytes ?? 0;
    }
    return {
      nodes: this.#nodes.list,
      levels: [...this.#levels.values()].sort((a, b) => b.level - a.level),
      dataBlocks: this.#dataBlocks,
      zeroBlocks: this.#zeroBlocks,
      dataBytes: this.#dataBlocks * dataBlockBytes,
      segments: { total: segments.length, listed: segments.slice(0, this.#limit) },
      segmentsBytes,
      usedBytes,
      damaged: this.#nodes.damaged,
    };
  }

  async #children(parent: NodeWords, depth: number, endKey: number): Promise<void> {
    const count = countOf(parent);
    for (let from = 0; from < count; from += WINDOW) {
      const refs: NodeRef[] = [];
      for (let slot = from; slot < Math.min(count, from + WINDOW); slot++) {
        refs.push(childRef(parent, slot, endKey, this.#tree.format));
      }
      const loaded = await this.#load(refs);
      for (let i = 0; i < refs.length; i++) await this.#node(refs[i], loaded[i], depth);
    }
  }

  /** The nodes of `refs`, or why one can't be used. */
  async #load(refs: readonly NodeRef[]): Promise<(NodeWords | string)[]> {
    const { loader } = this.#tree;
    try {
      return await loader.load(refs, this.#signal);
    } catch (error) {
      problemOf(error);
    }
    // Some of them are damaged: one by one tells which.
    const loaded: (NodeWords | string)[] = [];
    for (const ref of refs) {
      try {
        loaded.push(...await loader.load([ref], this.#signal));
      } catch (error) {
        loaded.push(problemOf(error));
      }
    }
    return loaded;
  }

  async #node(ref: NodeRef, words: NodeWords | string, depth: number): Promise<void> {
    const { level, segmentId, offset, firstKey } = ref;
    const place = { depth, level, object: segmentKey(segmentId), offset, firstKey };
    const capacity = this.#geometry.metaBlockBytes / 16 - 1;
    if (typeof words === "string") {
      this.#add({ ...place, lastKey: null, count: null, capacity, problem: words });
      return;
    }
    this.#space(segmentId).nodes++;
    let problem: string | null = null;
    if (level === 1) {
      problem = await this.#checkExtents(extentsOfLeaf(this.#tree, words));
      this.#countZeros(words, false);
    }
    const count = countOf(words);
    const lastKey = keyAt(words, count - 1);
    this.#add({ ...place, lastKey, count, capacity: capacityOf(words), problem });
    if (level > 1) await this.#children(words, depth + 1, ref.endKey);
  }

  /** Counts the blocks of a leaf, and compares them with their segments. */
  async #checkExtents(extents: readonly Extent[]): Promise<string | null> {
    for (const { segmentId, blockCount } of extents) {
      this.#dataBlocks += blockCount;
      this.#space(segmentId).blocks += blockCount;
    }
    try {
      await this.#index.check(extents, this.#signal);
      return null;
    } catch (error) {
      return problemOf(error);
    }
  }

  #countZeros(leaf: NodeWords, direct: boolean): void {
    const count = direct ? DIRECT_BLOCKS : countOf(leaf);
    for (let i = 0; i < count; i++) {
      const at = direct ? directWord(i) : valueWord(leaf, i);
      if (isZeroBlock(leaf[at + 1], leaf[at])) this.#zeroBlocks++;
    }
  }

  #add(node: TreeNodeReport): void {
    this.#nodes.add(node);
    let level = this.#levels.get(node.level);
    if (level === undefined) {
      level = { level: node.level, nodes: 0, damaged: 0, children: 0, slots: 0 };
      this.#levels.set(node.level, level);
    }
    level.nodes++;
    if (node.problem !== null) level.damaged++;
    level.children += node.count ?? 0;
    level.slots += node.count === null ? 0 : node.capacity;
  }

  #space(segmentId: number): SegmentSpace {
    let space = this.#segments.get(segmentId);
    if (space === undefined) {
      space = { segmentId, sizeBytes: null, nodes: 0, blocks: 0 };
      this.#segments.set(segmentId, space);
    }
    return space;
  }

  async #measureSegments(): Promise<void> {
    for await (const { key, size } of this.#store.list({ signal: this.#signal })) {
      const id = parseSegmentKey(key);
      const space = id === null ? undefined : this.#segments.get(id);
      if (space !== undefined) space.sizeBytes = size;
    }
  }
}

function lastBlock(extents: readonly Extent[]): number | null {
  const last = extents.at(-1);
  return last === undefined ? null : last.startBlock + last.blockCount - 1;
}
