// Publishing a checkpoint: the segment is put only if absent, then the inode only if it is still the
// one that we know. The inode's put is the commit.
//
// A put whose answer was lost may have taken effect, now or later; what happened is found out by
// reading. Anything there that is not ours means another writer, and nothing is merged.
//
// The claim on the replica (claim.ts) decides who is fenced; its card is always read after the object:
// - An inode that is neither what we put nor exactly what we started from: a later claim touched it,
//   or committed, and we are fenced; or the claim is ours, and a tool that claims nothing noted a time.
//   Two writers' inodes may well be alike but for the times, so alike is not enough to be ours.
// - A segment in the way while the claim is ours is an orphan of an earlier writer: that writer's etag
//   of the inode is stale since our claim's touch, so it can never be published. It is replaced by CAS
//   on its etag: nothing that a later writer has put there in the meantime is lost, which deleting
//   could not promise. The earlier writer can't replace ours: it puts only where nothing is, or
//   after the card has named it.

import { ReplicaError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { decodeInode, INODE_KEY, InodeRecord } from "../format/inode.ts";
import { segmentKey } from "../format/segment.ts";
import type { KnownInode } from "./inode_reader.ts";
import type { ObjectStore, PutCondition, PutResult } from "./object_store.ts";
import type { SegmentImage } from "./segment_image.ts";
import type { WriteClaim } from "./write_claim.ts";

const COMPARE_BYTES = 4 * MiB;
/** Readers of other implementations rewrite the inode's times; more than this in a row is a fault. */
const TIME_RACES_MAX = 16;
const SEGMENT_RACES_MAX = 16;

export interface PutOptions {
  /** The writer's right to write. */
  readonly claim: WriteClaim;
  readonly signal?: AbortSignal;
}

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

/** A put whose lost answer is an outcome of its own. */
export async function tryPut(
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
 * Makes the segment stand in the store and returns its etag. Throws `unavailable` when that could not be
 * done or not be found out (call again with the same image), `fenced` when another writer's object has
 * its key. `standing` is the etag of an object that is known to be there and to be of no use.
 */
export async function putSegment(
  store: ObjectStore,
  image: SegmentImage,
  options: PutOptions & { standing?: string },
): Promise<string> {
  const { claim, standing, signal } = options;
  const key = segmentKey(image.segmentId);
  let condition: PutCondition = standing === undefined ? { absent: true } : { etag: standing };
  for (let race = 0; race < SEGMENT_RACES_MAX; race++) {
    const outcome = await tryPut(store, key, image.chunks, { condition, signal });
    if (outcome.stored === true) return outcome.etag;
    const found = await compareObject(store, key, image, signal).catch((error) => {
      throw outcome.stored === "unknown" && isUnknownOutcome(error) ? outcome.error : error;
    });
    if (found.verdict === "same") return found.etag;
    if (found.verdict === "other") {
      await claim.requireHeld({ signal });
      condition = { etag: found.etag };
      continue;
    }
    if (outcome.stored === "unknown") throw outcome.error;
    // Refused, but nothing is there: a conflict with a put of our own that is still under way.
    if ("absent" in condition) break;
    condition = { absent: true };
  }
  throw new ReplicaError("unavailable", `Cannot write ${key}: the store refused, but has no such`, {
    context: { object: key, uri: store.uri },
  });
}

type Compared =
  | { readonly verdict: "absent" }
  | { readonly verdict: "same" | "other"; readonly etag: string };

/** Compares a stored object with `image` byte for byte, in pieces of bounded size. */
async function compareObject(
  store: ObjectStore,
  key: string,
  image: SegmentImage,
  signal?: AbortSignal,
): Promise<Compared> {
  let chunk = 0;
  let used = 0;
  let etag = "";
  for (let offset = 0; offset < image.bytes;) {
    const range = { offset, length: Math.min(COMPARE_BYTES, image.bytes - offset) };
    const body = await store.get(key, { range, signal });
    if (body === null) return { verdict: "absent" };
    const replaced = offset > 0 && body.etag !== etag;
    etag = body.etag;
    if (replaced || body.size !== image.bytes || body.bytes.length !== range.length) {
      return { verdict: "other", etag };
    }
    for (let at = 0; at < range.length;) {
      const mine = image.chunks[chunk].subarray(used, used + range.length - at);
      if (!equalBytes(mine, body.bytes.subarray(at, at + mine.length))) {
        return { verdict: "other", etag };
      }
      at += mine.length;
      used += mine.length;
      if (used === image.chunks[chunk].length) {
        chunk++;
        used = 0;
      }
    }
    offset += range.length;
  }
  return { verdict: "same", etag };
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
  options: PutOptions,
): Promise<KnownInode> {
  const { claim, signal } = options;
  let etag = base.etag;
  for (let race = 0; race < TIME_RACES_MAX; race++) {
    const outcome = await tryPut(store, INODE_KEY, [bytes], { condition: { etag }, signal });
    if (outcome.stored === true) return known(bytes, outcome.etag);
    const range = { offset: 0, length: InodeRecord.size };
    const found = await store.get(INODE_KEY, { range, signal }).catch((error) => {
      throw outcome.stored === "unknown" && isUnknownOutcome(error) ? outcome.error : error;
    });
    if (found === null) throw fenced(INODE_KEY, "it was removed", store);
    if (found.bytes.length < InodeRecord.size) throw fenced(INODE_KEY, "it was cut short", store);
    const raw = found.bytes.slice(0, InodeRecord.size);
    if (!equalBytes(raw, bytes) && !equalBytes(raw, base.bytes)) {
      await claim.requireHeld({ signal });
    }
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
