// Finding out what a replica holds: the inode object, and the inodes that its segments carry.

import { dataError, messageOf, ReplicaError, usageError } from "../base/errors.ts";
import {
  decodeInode,
  geometryOf,
  type Inode,
  INODE_KEY,
  InodeRecord,
  shiftOf,
} from "../format/inode.ts";
import {
  parseSegmentKey,
  SegmentHeader,
  type SegmentHeaderValues,
  segmentKey,
} from "../format/segment.ts";
import { Limiter } from "./limiter.ts";
import type { ObjectInfo, ObjectStore, RequestOptions } from "./object_store.ts";
import { readSegmentHeader } from "./segment_header.ts";

const DAMAGE_HINT = "An earlier checkpoint may be whole: open one by its number.";
/** Headers that are read at once for a list of checkpoints. */
const LIST_WINDOW = 64;
const LIST_CONCURRENCY = 16;

/** An inode as it stands in the store. */
export interface KnownInode {
  readonly inode: Inode;
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** Reads the inode object. Null when there is none. */
export async function readInode(
  store: ObjectStore,
  options?: RequestOptions,
): Promise<KnownInode | null> {
  // A longer object is tolerated, as other implementations do.
  const range = { offset: 0, length: InodeRecord.size };
  const body = await store.get(INODE_KEY, { ...options, range });
  if (body === null) return null;
  const bytes = body.bytes.slice();
  return { inode: decodeInode(bytes, INODE_KEY), bytes, etag: body.etag };
}

/** Reads the inode object and compares it with the one in the segment of its checkpoint. */
export async function readHead(store: ObjectStore, options?: RequestOptions): Promise<KnownInode> {
  const head = await readInode(store, options);
  if (head === null) {
    throw usageError(`Cannot open the replica at ${store.uri}: there is no inode`, {
      context: { object: INODE_KEY, uri: store.uri },
    });
  }
  const { inode } = head;
  geometryOf(inode, INODE_KEY);
  if (inode.lastCno === 0 || inode.lastSeq !== inode.lastCno) return head;
  // The same flush wrote both, so a difference means that objects were mixed up or damaged.
  const carried = await readCarriedInode(store, inode.lastCno, options);
  if (carried === null) return head;
  const agrees = carried.lastCno === inode.lastCno && carried.metaConfig === inode.metaConfig &&
    carried.bmap.every((byte, i) => byte === inode.bmap[i]);
  if (!agrees) {
    const object = segmentKey(inode.lastCno);
    throw dataError(`Cannot open the replica at ${store.uri}: inode and ${object} do not agree`, {
      context: { object: INODE_KEY, offset: InodeRecord.offset.bmap },
      hint: DAMAGE_HINT,
    });
  }
  return head;
}

/** The inode that a segment carries. Null when there is no such segment. */
async function readCarriedInode(
  store: ObjectStore,
  segmentId: number,
  options?: RequestOptions,
): Promise<Inode | null> {
  const segment = await readSegmentHeader(store, segmentId, options);
  return segment && carriedInode(segment.header, segmentId);
}

/** The inode in a segment's header, checked against the header. */
export function carriedInode(header: SegmentHeaderValues, segmentId: number): Inode {
  const object = segmentKey(segmentId);
  const offset = SegmentHeader.offset.inode;
  const inode = decodeInode(header.inode, object, offset);
  const { metaBlockBytes, dataBlockBytes } = geometryOf(inode, object);
  if (
    header.metaBlkShift !== shiftOf(metaBlockBytes) ||
    header.dataBlkShift !== shiftOf(dataBlockBytes)
  ) {
    throw dataError(`Cannot read segment ${object}: its block sizes are not its inode's`, {
      context: { object, offset },
      hint: DAMAGE_HINT,
    });
  }
  return inode;
}

/** The inode of checkpoint `cno`. A usage error unless that is a published checkpoint. */
export async function readCheckpoint(
  store: ObjectStore,
  cno: number,
  options?: RequestOptions,
): Promise<Inode> {
  const context = { object: segmentKey(cno), uri: store.uri };
  const inode = await readCarriedInode(store, cno, options);
  if (inode === null) {
    throw usageError(`Cannot open checkpoint ${cno}: there is no such segment`, { context });
  }
  if (inode.lastCno !== cno) {
    throw usageError(`Cannot open checkpoint ${cno}: its segment was written but not published`, {
      context,
    });
  }
  const newest = await newestCno(store, options);
  if (newest !== null && newest < cno) {
    throw usageError(`Cannot open checkpoint ${cno}: the newest is ${newest}`, { context });
  }
  return inode;
}

/** The newest checkpoint; null when the inode can't tell, which must not hide older checkpoints. */
async function newestCno(store: ObjectStore, options?: RequestOptions): Promise<number | null> {
  try {
    return (await readInode(store, options))?.inode.lastCno ?? null;
  } catch (error) {
    if (error instanceof ReplicaError && error.kind === "data") return null;
    throw error;
  }
}

export interface CheckpointInfo {
  readonly cno: number;
  /** When its flush took place, by the writer's clock. */
  readonly mtimeMs: number;
  readonly sizeBytes: number;
  readonly segmentBytes: number;
  /** Why its segment can't be read, else null; then time and size are 0. */
  readonly damage: string | null;
}

/** The published checkpoints in ascending order, from `from` on. */
export async function* listCheckpoints(
  store: ObjectStore,
  options: RequestOptions & { from?: number } = {},
): AsyncGenerator<CheckpointInfo> {
  const { signal, from = 1 } = options;
  const newest = await newestCno(store, { signal }) ?? Infinity;
  const limiter = new Limiter(LIST_CONCURRENCY);
  let window: ObjectInfo[] = [];
  for await (const object of store.list({ signal, startAfter: segmentKey(from - 1) })) {
    const id = parseSegmentKey(object.key);
    if (id === null) continue;
    if (id > newest) break;
    window.push(object);
    if (window.length < LIST_WINDOW) continue;
    yield* await describeAll(store, limiter, window, signal);
    window = [];
  }
  yield* await describeAll(store, limiter, window, signal);
}

/** The first checkpoint between two numbers that can be read; null: there is none. */
export async function checkpointBetween(
  store: ObjectStore,
  { after, before }: { after: number; before: number },
  { signal }: RequestOptions,
): Promise<number | null> {
  if (before - after <= 1) return null;
  for await (const { cno, damage } of listCheckpoints(store, { from: after + 1, signal })) {
    if (cno >= before) return null;
    if (damage === null) return cno;
  }
  return null;
}

async function describeAll(
  store: ObjectStore,
  limiter: Limiter,
  objects: readonly ObjectInfo[],
  signal: AbortSignal | undefined,
): Promise<CheckpointInfo[]> {
  const found: CheckpointInfo[] = [];
  await limiter.runAll(objects, async (object) => {
    const info = await describeCheckpoint(store, object, signal);
    if (info !== null) found.push(info);
  });
  return found.sort((a, b) => a.cno - b.cno);
}

/** Null for a segment that is not a published checkpoint. */
async function describeCheckpoint(
  store: ObjectStore,
  object: ObjectInfo,
  signal: AbortSignal | undefined,
): Promise<CheckpointInfo | null> {
  const cno = Number(object.key);
  try {
    const inode = await readCarriedInode(store, cno, { signal });
    if (inode === null || inode.lastCno !== cno) return null;
    return {
      cno,
      mtimeMs: Number(inode.mtime) * 1000 + inode.mtimeNsec / 1e6,
      sizeBytes: inode.size,
      segmentBytes: object.size,
      damage: null,
    };
  } catch (error) {
    if (!(error instanceof ReplicaError) || error.kind !== "data") throw error;
    const damage = messageOf(error);
    return { cno, mtimeMs: 0, sizeBytes: 0, segmentBytes: object.size, damage };
  }
}
