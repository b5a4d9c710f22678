// Locking earlier writers out: the inode object gets another etag, so that their next If-Match fails.
//
// The new content is unique for ever: ctime, which nothing else ever sets on a file that exists, gets
// the claim's epoch as its nanoseconds. An etag of before can't come back, also where etags are
// digests. Every segment carries a copy of the inode, so the stamp also tells under which claim a
// segment was written.
//
// Callers: claim.ts; orphans.ts and attaching read the stamps.

import { ReplicaError, usageError } from "../base/errors.ts";
import { INODE_KEY, InodeRecord, splitTime } from "../format/inode.ts";
import type { Inode } from "../format/inode.ts";
import { tryPut } from "./commit_protocol.ts";
import { readInode } from "./inode_reader.ts";
import type { ObjectStore } from "./object_store.ts";
import type { WriteClaim } from "./write_claim.ts";

/** A writer that commits without a pause wins many of them: a claim is three requests, it has one to lose. */
const RACES_MAX = 1024;
const NANOSECONDS = 1e9;

/** The stamp of an epoch. */
export function stampOf(epoch: number): number {
  return epoch % NANOSECONDS;
}

/** Whether an inode, or a segment that carries it, was written under the claim `epoch`. */
export function hasStamp(inode: Inode, epoch: number): boolean {
  return epoch > 0 && inode.ctimeNsec === stampOf(epoch);
}

/**
 * Stamps the inode and returns the stamp that it had; null where that is not known for certain. When it
 * resolves, no writer of an earlier claim can publish any more. Throws `fenced` when a later claim is in
 * force.
 */
export async function touchInode(
  store: ObjectStore,
  claim: Pick<WriteClaim, "epoch" | "requireHeld">,
  options: { nowMs: number; signal?: AbortSignal },
): Promise<number | null> {
  const { signal } = options;
  const { seconds } = splitTime(options.nowMs);
  const seen = new Set<number>();
  let lastError: unknown;
  for (let race = 0; race < RACES_MAX; race++) {
    const found = await readInode(store, { signal });
    if (found === null) {
      throw usageError(`Cannot claim the replica at ${store.uri}: there is no inode`, {
        context: { object: INODE_KEY, uri: store.uri },
      });
    }
    if (hasStamp(found.inode, claim.epoch)) return seen.size === 1 ? [...seen][0] : null;
    seen.add(found.inode.ctimeNsec);
    // Read after the inode: what was read is not a later claim's, whose etag must not be replaced.
    await claim.requireHeld({ signal });
    const inode = { ...found.inode, ctime: seconds, ctimeNsec: stampOf(claim.epoch) };
    const bytes = InodeRecord.toBytes(inode);
    const condition = { etag: found.etag };
    const put = await tryPut(store, INODE_KEY, [bytes], { condition, signal });
    if (put.stored === true) return found.inode.ctimeNsec;
    if (put.stored === "unknown") lastError = put.error;
  }
  throw lastError ?? new ReplicaError(
    "unavailable",
    `Cannot claim ${store.uri}: its inode changes all the time`,
    { context: { object: INODE_KEY, uri: store.uri } },
  );
}
