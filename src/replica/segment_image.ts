// Laying out one segment: every new node and data block gets its place, every unplaced pointer its
// value, and the whole becomes a list of chunks that are put without being joined.
//
// Order: nodes from the top level down, then by key; data blocks by block index. `seq` counts nodes
// first, then data. A staged segment ends with an inode that has its root (staged_tail.ts).

import { invariant } from "../base/assert.ts";
import { usageError } from "../base/errors.ts";
import { alignUp, formatSize } from "../base/units.ts";
import { pointerHi, pointerLo } from "../format/block_ptr.ts";
import {
  countOf,
  DIRECT_BLOCKS,
  directWord,
  isDirect,
  levelOf,
  nodeBytes,
  type NodeWords,
  rootWords,
  valueWord,
} from "../format/bmap.ts";
import {
  type Geometry,
  geometryOf,
  type Inode,
  INODE_KEY,
  InodeRecord,
  shiftOf,
} from "../format/inode.ts";
import { viewOf } from "../base/struct.ts";
import {
  SEGMENT_MAGIC,
  type SegmentAreas,
  segmentAreas,
  SegmentEntry,
  SegmentHeader,
} from "../format/segment.ts";
import { POINTER_UNIT_BYTES } from "../format/block_ptr.ts";
import { mergeNeighbours } from "./gather.ts";
import { type Mutations, UNPLACED_HI } from "./mutations.ts";
import type { TreeChange } from "./tree_rebuild.ts";

const TWO_32 = 2 ** 32;

/** A segment ready to be put. */
export interface SegmentImage {
  readonly segmentId: number;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  readonly metaBlocks: number;
  readonly dataBlocks: number;
  /** The inode in the header: what the inode object becomes when the checkpoint is published. */
  readonly inodeBytes: Uint8Array;
  readonly root: NodeWords;
  /** The new nodes by their offset, to be kept in the cache once the segment stands. */
  readonly nodes: readonly { readonly offset: number; readonly words: NodeWords }[];
}

export interface ImageOptions {
  readonly segmentId: number;
  readonly geometry: Geometry;
  readonly bytesMax: number;
  /** Makes the header's inode once the root's pointers are known. */
  readonly inode: (root: NodeWords) => Inode;
  /** Makes the inode after the last data block, of a segment that is staged. */
  readonly stagedInode?: (root: NodeWords) => Inode;
}

/** A segment above the writer's bound: the batch has to be split. */
export function checkSegmentBytes(bytes: number, bytesMax: number): void {
  if (bytes <= bytesMax) return;
  throw usageError(
    `Cannot commit a batch: a segment of ${formatSize(bytes)} is above ${formatSize(bytesMax)}`,
    { hint: "Split the batch.", context: { bytes, bytesMax } },
  );
}

/** Turns unplaced pointers into real ones. */
class Placer {
  readonly #hi: number;
  readonly #geometry: Geometry;
  readonly #areas: SegmentAreas;
  readonly #dataSeq: number;
  /** Ordinal of the first node of each level. */
  readonly #levelSeq: readonly number[];

  constructor(segmentId: number, geometry: Geometry, areas: SegmentAreas, levelSeq: number[]) {
    this.#hi = pointerHi(segmentId);
    this.#geometry = geometry;
    this.#areas = areas;
    this.#levelSeq = levelSeq;
    this.#dataSeq = (areas.dataOffset - areas.metaOffset) / geometry.metaBlockBytes;
  }

  get hi(): number {
    return this.#hi;
  }

  nodeOffset(seq: number): number {
    return this.#areas.metaOffset + seq * this.#geometry.metaBlockBytes;
  }

  dataLo(ordinal: number): number {
    const { dataBlockBytes, pointerFormat } = this.#geometry;
    const offset = this.#areas.dataOffset + ordinal * dataBlockBytes;
    return pointerLo(offset, this.#dataSeq + ordinal, pointerFormat);
  }

  /** Places the values of a node (or root) of `level`, `count` of them from word `at` on. */
  placeValues(words: NodeWords, level: number, at: number, count: number): void {
    for (const end = at + 2 * count; at < end; at += 2) {
      if (words[at + 1] !== UNPLACED_HI) continue;
      if (level === 1) words[at] = this.dataLo(words[at]);
      else {
        const seq = this.#levelSeq[level - 1] + words[at];
        words[at] = pointerLo(this.nodeOffset(seq), seq, this.#geometry.pointerFormat);
      }
      words[at + 1] = this.#hi;
    }
  }
}

/** Lays out the segment of a tree change and its data. The change's nodes are placed in the act. */
export function layOutSegment(
  change: TreeChange,
  mutations: Mutations,
  options: ImageOptions,
): SegmentImage {
  const { segmentId, geometry } = options;
  const levelSeq: number[] = [];
  let metaBlocks = 0;
  for (let level = change.nodes.length - 1; level >= 1; level--) {
    levelSeq[level] = metaBlocks;
    metaBlocks += change.nodes[level].length;
  }
  const dataBlocks = mutations.data.length;
  const areas = segmentAreas({ ...geometry, metaBlocks, dataBlocks });
  const trailerBytes = options.stagedInode === undefined ? 0 : InodeRecord.size;
  checkSegmentBytes(areas.endOffset + trailerBytes, options.bytesMax);
  const placer = new Placer(segmentId, geometry, areas, levelSeq);

  const nodes: { offset: number; words: NodeWords }[] = [];
  for (let level = change.nodes.length - 1; level >= 1; level--) {
    for (const words of change.nodes[level]) {
      placer.placeValues(words, level, valueWord(words, 0), countOf(words));
      nodes.push({ offset: placer.nodeOffset(nodes.length), words });
    }
  }
  const { root } = change;
  if (isDirect(root)) placer.placeValues(root, 1, directWord(0), DIRECT_BLOCKS);
  else placer.placeValues(root, levelOf(root), valueWord(root, 0), countOf(root));

  const inodeBytes = InodeRecord.toBytes(options.inode(root));
  const summary = summaryOf(segmentId, geometry, { inodeBytes, areas, metaBlocks, dataBlocks });
  writeEntries(summary, mutations, placer);
  const pieces = [summary, ...nodes.map((node) => nodeBytes(node.words)), ...mutations.data];
  const stagedInode = options.stagedInode?.(root);
  if (stagedInode !== undefined) pieces.push(InodeRecord.toBytes(stagedInode));
  const chunks = mergeNeighbours(pieces);
  return {
    segmentId,
    chunks,
    bytes: areas.endOffset + trailerBytes,
    metaBlocks,
    dataBlocks,
    inodeBytes,
    root,
    nodes,
  };
}

function summaryOf(
  segmentId: number,
  geometry: Geometry,
  parts: { inodeBytes: Uint8Array; areas: SegmentAreas; metaBlocks: number; dataBlocks: number },
): Uint8Array<ArrayBuffer> {
  const summary = new Uint8Array(alignUp(parts.areas.summaryBytes, POINTER_UNIT_BYTES));
  SegmentHeader.encode(viewOf(summary), 0, {
    magic: SEGMENT_MAGIC,
    chksum: 0,
    bytes: parts.areas.summaryBytes,
    flags: 0,
    metaBlkShift: shiftOf(geometry.metaBlockBytes),
    dataBlkShift: shiftOf(geometry.dataBlockBytes),
    next: 0n,
    inode: parts.inodeBytes,
    ino: 0n,
    cno: BigInt(segmentId),
    nmetablk: parts.metaBlocks,
    ndatablk: parts.dataBlocks,
  });
  return summary;
}

/**
 * A segment that takes up a number and says nothing: no blocks, and the inode of the checkpoint before
 * it, so nobody takes it for a checkpoint of its own.
 */
export function emptySegment(segmentId: number, before: Inode): SegmentImage {
  invariant(before.lastCno < segmentId, "an empty segment is no checkpoint");
  const geometry = geometryOf(before, INODE_KEY);
  const inodeBytes = InodeRecord.toBytes(before);
  const areas = segmentAreas({ ...geometry, metaBlocks: 0, dataBlocks: 0 });
  const chunks = [
    summaryOf(segmentId, geometry, { inodeBytes, areas, metaBlocks: 0, dataBlocks: 0 }),
  ];
  return {
    segmentId,
    chunks,
    bytes: areas.endOffset,
    metaBlocks: 0,
    dataBlocks: 0,
    inodeBytes,
    root: rootWords(before.bmap),
    nodes: [],
  };
}

function writeEntries(summary: Uint8Array<ArrayBuffer>, mutations: Mutations, placer: Placer) {
  const words = new Uint32Array(
    summary.buffer,
    SegmentHeader.size,
    mutations.data.length * (SegmentEntry.size / 4),
  );
  let at = 0;
  for (let i = 0; i < mutations.putCount; i++) {
    if (mutations.putHi[i] !== UNPLACED_HI) continue;
    words[at++] = mutations.putKeys[i] % TWO_32;
    words[at++] = mutations.putKeys[i] / TWO_32;
    words[at++] = placer.dataLo(mutations.putLo[i]);
    words[at++] = placer.hi;
  }
  invariant(at === words.length, "each data block has an entry");
}
