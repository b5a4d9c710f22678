// Segments above the inode's last number, met when a replica is opened for writing.
//
// `last + 1` is what a crash between a segment's put and its inode's put leaves behind: a whole
// checkpoint that was never published. It is adopted (published) or deleted, as the caller wants.
// Anything further up can only be left over from a resync that never finished or from a writer that
// skipped numbers: stale, deleted before the first write, because its number will come up again.
//
// Readers never come here.

import { dataError, ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { geometryOf, InodeRecord } from "../format/inode.ts";
import {
  decodeSegmentHeader,
  parseSegmentKey,
  segmentAreas,
  SegmentHeader,
  segmentKey,
} from "../format/segment.ts";
import { rootWords } from "../format/bmap.ts";
import { putInode } from "./commit_protocol.ts";
import { carriedInode, type KnownInode } from "./inode_reader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { checkRoot } from "./tree_walk.ts";

/** What to do with a whole segment that was never published. */
export type OrphanPolicy = "adopt" | "delete" | "refuse";

export interface OrphanReport {
  /** The checkpoint that was published, or null. */
  readonly adopted: number | null;
  readonly deleted: readonly number[];
}

/** Ids of the segments above `last`, ascending. */
export async function listSegmentsAbove(
  store: ObjectStore,
  last: number,
  options?: RequestOptions,
): Promise<number[]> {
  const ids: number[] = [];
  const startAfter = segmentKey(last);
  for await (const { key } of store.list({ ...options, startAfter })) {
    const id = parseSegmentKey(key);
    if (id !== null && id > last) ids.push(id);
    // Keys come in order; nothing behind the digits can be a segment.
    if (key > "9999999999") break;
  }
  return ids;
}

/**
 * Deals with the orphans above `known`. Returns the inode as it stands afterwards. Order: the stale
 * ones go first, so that a crash in here never makes one of them look like the next checkpoint.
 */
export async function resolveOrphans(
  store: ObjectStore,
  known: KnownInode,
  policy: OrphanPolicy,
  options: RequestOptions = {},
): Promise<{ known: KnownInode; report: OrphanReport }> {
  const next = known.inode.lastSeq + 1;
  const ids = await listSegmentsAbove(store, known.inode.lastSeq, options);
  if (ids.length === 0) return { known, report: { adopted: null, deleted: [] } };
  if (policy === "refuse") {
    throw dataError(`Cannot open ${store.uri} for writing: segment ${ids[0]} was never published`, {
      context: { object: segmentKey(ids[0]), uri: store.uri },
      hint: "Open it with a policy that adopts or deletes unpublished segments.",
    });
  }
  const deleted = ids.filter((id) => id !== next);
  for (const id of deleted) await store.delete(segmentKey(id), options);
  await hit("attach.after-stale-segments");
  if (ids[0] !== next) return { known, report: { adopted: null, deleted } };

  const inodeBytes = policy === "adopt" ? await adoptable(store, known, next, options) : null;
  if (inodeBytes === null) {
    await store.delete(segmentKey(next), options);
    return { known, report: { adopted: null, deleted: [next, ...deleted] } };
  }
  await hit("attach.before-adoption");
  const adopted = await putInode(store, inodeBytes, known, options.signal);
  await hit("attach.after-adoption");
  return { known: adopted, report: { adopted: next, deleted } };
}

/** The inode to publish for orphan `id`; null for a segment that was never meant to be published. */
async function adoptable(
  store: ObjectStore,
  known: KnownInode,
  id: number,
  options: RequestOptions,
): Promise<Uint8Array | null> {
  const object = segmentKey(id);
  const range = { offset: 0, length: SegmentHeader.size };
  const body = await store.get(object, { ...options, range });
  if (body === null) {
    throw new ReplicaError("fenced", `Cannot adopt segment ${object}: it vanished`, {
      context: { object, uri: store.uri },
    });
  }
  const header = decodeSegmentHeader(body.bytes, id);
  const inode = carriedInode(header, id);
  if (inode.lastCno !== id) return null;
  const geometry = geometryOf(inode, object);
  const areas = segmentAreas({
    ...geometry,
    metaBlocks: header.nmetablk,
    dataBlocks: header.ndatablk,
  });
  const same = inode.metaConfig === known.inode.metaConfig && inode.lastSeq === id;
  if (!same || body.size < areas.endOffset) {
    throw dataError(`Cannot adopt segment ${object}: it does not continue this replica`, {
      context: { object, uri: store.uri, size: body.size },
      hint: "Open the replica with the policy that deletes unpublished segments.",
    });
  }
  const limits = { format: geometry.pointerFormat, segmentIdMax: id };
  checkRoot(rootWords(inode.bmap), limits, object);
  return header.inode.slice(0, InodeRecord.size);
}
