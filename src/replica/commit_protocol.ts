// Publishing a checkpoint: the segment is put only if absent, then the inode only if it is still the
// one that we know. The inode's put is the commit.
//
// A put whose answer was lost may have taken effect, now or later; what happened is found out by
// reading. Anything there that is not ours means another writer: `fenced`, and nothing is merged.

import { ReplicaError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { decodeInode, INODE_KEY, InodeRecord } from "../format/inode.ts";
import { segmentKey } from "../format/segment.ts";
import type { KnownInode } from "./inode_reader.ts";
import type { ObjectStore, PutCondition, PutResult } from "./object_store.ts";
import type { SegmentImage } from "./segment_image.ts";

const COMPARE_BYTES = 4 * MiB;
/** Readers of other implementations rewrite the inode's times; more than this in a row is a fault. */
const TIME_RACES_MAX = 16;

function fenced(object: string, reason: string, store: ObjectStore): ReplicaError {
  return new ReplicaError("fenced", `Cannot write ${object}: ${reason}`, {
    context: { object, uri: store.uri },
    hint: "Another writer uses this replica. Make sure that only one does, then start again.",
  });
}

/** Errors after which it is unknown whether a put took effect. */
function isUnknownOutcome(error: unknown): boolean {
  return error instanceof ReplicaError && error.kind === "unavailable";
}

type Outcome = PutResult | { readonly stored: "unknown"; readonly error: unknown };

async function tryPut(
  store: ObjectStore,
  key: string,
  chunks: readonly Uint8Array[],
  options: { condition: PutCondition; signal?: AbortSignal },
): Promise<Outcome> {
  try {
    return await store.put(key, chunks, options);
  } catch (error) {
    if (!isUnknownOutcome(error)) throw error;
    return { stored: "unknown", error };
  }
}

/**
 * Makes the segment stand in the store. Throws `unavailable` when that could not be done or not be
 * found out (call again with the same image), `fenced` when another object has its key.
 */
export async function putSegment(
  store: ObjectStore,
  image: SegmentImage,
  signal?: AbortSignal,
): Promise<void> {
  const key = segmentKey(image.segmentId);
  const condition = { absent: true } as const;
  const outcome = await tryPut(store, key, image.chunks, { condition, signal });
  if (outcome.stored === true) return;
  const verdict = await compareObject(store, key, image, signal).catch((error) => {
    throw outcome.stored === "unknown" && isUnknownOutcome(error) ? outcome.error : error;
  });
  if (verdict === "same") return;
  if (verdict === "other") {
    throw fenced(key, "a segment that is not ours has this number", store);
  }
  if (outcome.stored === "unknown") throw outcome.error;
  // Refused, but nothing is there: a conflict with a put of our own that is still under way.
  throw new ReplicaError("unavailable", `Cannot write ${key}: the store refused, but has no such`, {
    context: { object: key, uri: store.uri },
  });
}

/** Compares a stored object with `image` byte for byte, in pieces of bounded size. */
async function compareObject(
  store: ObjectStore,
  key: string,
  image: SegmentImage,
  signal?: AbortSignal,
): Promise<"same" | "other" | "absent"> {
  let chunk = 0;
  let used = 0;
  for (let offset = 0; offset < image.bytes;) {
    const range = { offset, length: Math.min(COMPARE_BYTES, image.bytes - offset) };
    const body = await store.get(key, { range, signal });
    if (body === null) return "absent";
    if (body.size !== image.bytes || body.bytes.length !== range.length) return "other";
    for (let at = 0; at < range.length;) {
      const mine = image.chunks[chunk].subarray(used, used + range.length - at);
      if (!equalBytes(mine, body.bytes.subarray(at, at + mine.length))) return "other";
      at += mine.length;
      used += mine.length;
      if (used === image.chunks[chunk].length) {
        chunk++;
        used = 0;
      }
    }
    offset += range.length;
  }
  return "same";
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether two inodes differ in nothing but their times, which lie next to each other. */
export function sameButTimes(a: Uint8Array, b: Uint8Array): boolean {
  const { atime, metaConfig } = InodeRecord.offset;
  return equalBytes(a.subarray(0, atime), b.subarray(0, atime)) &&
    equalBytes(a.subarray(metaConfig), b.subarray(metaConfig));
}

/**
 * Replaces the inode `base` by `bytes` and returns it as it then stands. Throws `unavailable` when
 * the outcome is not known or the store does not answer (call again with the same bytes), `fenced`
 * when somebody else has written a checkpoint or changed the file.
 */
export async function putInode(
  store: ObjectStore,
  bytes: Uint8Array,
  base: KnownInode,
  signal?: AbortSignal,
): Promise<KnownInode> {
  let etag = base.etag;
  for (let race = 0; race < TIME_RACES_MAX; race++) {
    const outcome = await tryPut(store, INODE_KEY, [bytes], { condition: { etag }, signal });
    if (outcome.stored === true) return known(bytes, outcome.etag);
    const found = await store.get(INODE_KEY, { signal }).catch((error) => {
      throw outcome.stored === "unknown" && isUnknownOutcome(error) ? outcome.error : error;
    });
    if (found === null) throw fenced(INODE_KEY, "it was removed", store);
    if (found.bytes.length < InodeRecord.size) throw fenced(INODE_KEY, "it was cut short", store);
    const raw = found.bytes.slice(0, InodeRecord.size);
    // Ours (a lost answer, or a reader that adopted our segment), possibly with newer times.
    if (sameButTimes(raw, bytes)) return known(raw, found.etag);
    if (!sameButTimes(raw, base.bytes)) {
      throw fenced(INODE_KEY, "another writer has committed to this replica", store);
    }
    // Still the base. An unknown outcome stays unknown: our put may yet arrive.
    if (outcome.stored === "unknown") throw outcome.error;
    etag = found.etag;
  }
  throw new ReplicaError("unavailable", `Cannot write ${INODE_KEY}: it changes all the time`, {
    context: { object: INODE_KEY, uri: store.uri },
  });
}

function known(bytes: Uint8Array, etag: string): KnownInode {
  return { inode: decodeInode(bytes, INODE_KEY), bytes, etag };
}
