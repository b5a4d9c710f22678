// Going on with segments that an earlier run has staged. What a new writer has to know of them is the
// root of their tree: each staged segment ends with an inode, after its last data block, that has the
// root as of that segment. The inode in its header is the one of the checkpoint before, so that no other
// tool opens what is not consistent yet.
//
// Callers: attaching.

import { ReplicaError } from "../base/errors.ts";
import { rootWords } from "../format/bmap.ts";
import { decodeInode, geometryOf, type Inode, InodeRecord } from "../format/inode.ts";
import { segmentAreas, segmentKey } from "../format/segment.ts";
import { carriedInode } from "./inode_reader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { listAbove } from "./orphans.ts";
import { readSegmentHeader } from "./segment_header.ts";
import { checkRoot } from "./tree_walk.ts";

/** Staged segments, and what they make of the file together. */
export interface StagedTail {
  /** Ascending, and at least one. */
  readonly segments: readonly { readonly id: number; readonly etag: string }[];
  readonly inode: Inode;
}

/**
 * The segments that are staged above checkpoint `base`, up to number `last`. Null when they do not stand
 * there whole, each of them.
 */
export async function readStagedTail(
  store: ObjectStore,
  base: Inode,
  last: number,
  options: RequestOptions = {},
): Promise<StagedTail | null> {
  // The number after the checkpoint's is left out.
  const first = base.lastSeq + 2;
  const found = await listAbove(store, first - 1, options);
  const segments = found.filter(({ id }) => id <= last)
    .map(({ id, info: { etag } }) => ({ id, etag }));
  if (segments.length === 0 || segments.length !== last - first + 1) return null;
  try {
    const inode = await readStagedInode(store, base, last, options);
    return inode && { segments, inode };
  } catch (error) {
    if (error instanceof ReplicaError && error.kind === "data") return null;
    throw error;
  }
}

async function readStagedInode(
  store: ObjectStore,
  base: Inode,
  id: number,
  options: RequestOptions,
): Promise<Inode | null> {
  const object = segmentKey(id);
  const segment = await readSegmentHeader(store, id, options);
  if (segment === null) return null;
  const { header } = segment;
  const geometry = geometryOf(base, object);
  const offset = segmentAreas({
    ...geometry,
    metaBlocks: header.nmetablk,
    dataBlocks: header.ndatablk,
  }).endOffset;
  if (segment.sizeBytes !== offset + InodeRecord.size) return null;
  const tail = await store.get(object, { ...options, range: { offset, length: InodeRecord.size } });
  if (tail === null) return null;
  const inode = decodeInode(tail.bytes, object, offset);
  const follows = [carriedInode(header, id), inode].every(({ lastCno, metaConfig }) =>
    lastCno === base.lastCno && metaConfig === base.metaConfig
  );
  if (!follows) return null;
  checkRoot(rootWords(inode.bmap), { format: geometry.pointerFormat, segmentIdMax: id }, object);
  return inode;
}
