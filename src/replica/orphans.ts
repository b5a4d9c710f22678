// Segments above the inode's last number, met when a replica is opened for writing.
//
// `last + 1` is what a crash between a segment's put and its inode's put leaves behind: a whole
// checkpoint that was never published. It is adopted (published) where the caller wants that.
// Anything further up can only be left over from a resync that never finished or from a writer that
// skipped numbers: stale, and in the way, because its number will come up again.
//
// Nothing is deleted: an earlier writer that does not know yet that it is fenced could be at it too,
// and a delete has no condition. So what is not adopted is emptied, by CAS:
// replaced by a segment without blocks that no tool takes for a checkpoint. Only segments that carry
// the stamp of this primary's own claim are adopted, and change nothing that its maps do not name: another
// writer's are not its history, nor are those of the drive that it is an older copy of. And only when no
// other claim has stamped the inode since: its writer could still be about to empty them.
//
// Readers never come here.

import { dataError, ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { geometryOf, type Inode, InodeRecord } from "../format/inode.ts";
import { parseSegmentKey, segmentAreas, segmentKey } from "../format/segment.ts";
import { rootWords } from "../format/bmap.ts";
import { viewOf } from "../base/struct.ts";
import { putInode, tryPut } from "./commit_protocol.ts";
import { carriedInode, type KnownInode } from "./inode_reader.ts";
import { Limiter } from "./limiter.ts";
import type { ObjectInfo, ObjectStore, RequestOptions } from "./object_store.ts";
import { readSegmentHeader } from "./segment_header.ts";
import { emptySegment } from "./segment_image.ts";
import { hasStamp, stampOf } from "./touch_inode.ts";
import { findChanged } from "./tree_diff.ts";
import { checkRoot } from "./tree_walk.ts";
import type { WriteClaim } from "./write_claim.ts";

const EMPTY_CONCURRENCY = 16;
/** Lost answers in a row before an adoption is given up, as with a claim. */
const ADOPT_ATTEMPTS_MAX = 16;
/** Tree nodes that are read to see what an orphan changes: some seconds. One that changes more is emptied. */
const ADOPT_NODES_MAX = 4096;

export interface OrphanReport {
  /** The checkpoint that was published, or null. */
  readonly adopted: number | null;
  /** Those that were emptied. */
  readonly emptied: readonly number[];
}

/** The segments above `last`, ascending. */
export async function listAbove(
  store: ObjectStore,
  last: number,
  options: RequestOptions,
): Promise<{ id: number; info: ObjectInfo }[]> {
  const found: { id: number; info: ObjectInfo }[] = [];
  const startAfter = segmentKey(last);
  for await (const info of store.list({ signal: options.signal, startAfter })) {
    const id = parseSegmentKey(info.key);
    if (id !== null && id > last) found.push({ id, info });
    // Keys come in order; nothing behind the digits can be a segment.
    if (info.key > "9999999999") break;
  }
  return found;
}

export interface ClaimedOrphans {
  readonly known: KnownInode;
  readonly report: OrphanReport;
  /** Etags of what stands above the last number and is of no use. */
  readonly standing: Map<number, string>;
}

/**
 * Deals with the orphans above `known`, and returns the inode as it stands afterwards. `adoptEpoch`: the
 * claim under which this primary's last run wrote, when the inode is the last one that this primary knows
 * of; null: there is nothing to adopt.
 */
export async function settleOrphans(
  store: ObjectStore,
  known: KnownInode,
  options: RequestOptions & {
    claim: WriteClaim;
    adoptEpoch: number | null;
    /**
     * Whether that run may have changed a block, by data or zeros. An orphan that changes another one is of a
     * run that this primary knows nothing of: it is an older copy of the primary that wrote it. Absent: any
     * block.
     */
    mayHold?: (block: number) => boolean;
    /** Staged segments to go on with: what has their numbers or lower ones stays. */
    keep?: readonly { readonly id: number }[];
  },
): Promise<ClaimedOrphans> {
  const { claim, adoptEpoch, mayHold, keep = [], signal } = options;
  const next = known.inode.lastSeq + 1;
  const last = keep.at(-1)?.id ?? known.inode.lastSeq;
  const found = await listAbove(store, last, options);
  // Asked last: neither the inode that was read nor anything that was listed is a later writer's, which
  // must not be replaced.
  await claim.requireHeld({ signal });
  let current = known;
  let adopted: number | null = null;
  const untouched = adoptEpoch !== null && claim.stampBefore === stampOf(adoptEpoch);
  if (untouched && found[0]?.id === next) {
    const orphan = { id: next, epoch: adoptEpoch, mayHold, signal };
    const inode = await stampedInode(store, known, orphan);
    if (inode !== null) {
      const { ctime, ctimeNsec } = known.inode;
      const bytes = InodeRecord.toBytes({ ...inode, ctime, ctimeNsec });
      await hit("attach.before-adoption");
      current = await publishAdopted(store, bytes, known, { claim, signal });
      await hit("attach.after-adoption");
      adopted = next;
      found.shift();
    }
  }
  const standing = new Map<number, string>();
  await new Limiter(EMPTY_CONCURRENCY).runAll(found, async ({ id, info: { key, etag } }) => {
    const { chunks } = emptySegment(id, current.inode);
    const put = await tryPut(store, key, chunks, { condition: { etag }, signal });
    // Whatever became of it is found out when the number comes up.
    standing.set(id, put.stored === true ? put.etag : etag);
  });
  await hit("attach.after-stale-segments");
  return {
    known: current,
    report: { adopted, emptied: found.map(({ id }) => id) },
    standing,
  };
}

/** Publishes an orphan although answers get lost: what became of a put is read, and only then known. */
async function publishAdopted(
  store: ObjectStore,
  bytes: Uint8Array,
  known: KnownInode,
  options: RequestOptions & { claim: WriteClaim },
): Promise<KnownInode> {
  for (let attempt = 1;; attempt++) {
    try {
      return await putInode(store, bytes, known, options);
    } catch (error) {
      const isLost = error instanceof ReplicaError && error.kind === "unavailable";
      if (!isLost || attempt === ADOPT_ATTEMPTS_MAX) throw error;
    }
  }
}

/** The inode of an orphan of this primary; null for any other segment. */
async function stampedInode(
  store: ObjectStore,
  known: KnownInode,
  options: RequestOptions & { id: number; epoch: number; mayHold?: (block: number) => boolean },
): Promise<Inode | null> {
  const { id, epoch, mayHold, signal } = options;
  try {
    const bytes = await adoptable(store, known, id, { signal });
    const inode = bytes && InodeRecord.decode(viewOf(bytes));
    if (inode === null || !hasStamp(inode, epoch)) return null;
    if (mayHold === undefined) return inode;
    const { block, isWhole } = await findChanged(
      store,
      { before: known.inode, after: inode },
      { isWanted: (block) => !mayHold(block), nodesMax: ADOPT_NODES_MAX, signal },
    );
    return block === null && isWhole ? inode : null;
  } catch (error) {
    // Damaged, or gone: not a whole segment of ours.
    const foreign = error instanceof ReplicaError &&
      (error.kind === "data" || error.kind === "fenced");
    if (foreign) return null;
    throw error;
  }
}

/** The inode to publish for orphan `id`; null for a segment that was never meant to be published. */
async function adoptable(
  store: ObjectStore,
  known: KnownInode,
  id: number,
  options: RequestOptions,
): Promise<Uint8Array | null> {
  const object = segmentKey(id);
  const segment = await readSegmentHeader(store, id, options);
  if (segment === null) {
    throw new ReplicaError("fenced", `Cannot adopt segment ${object}: it vanished`, {
      context: { object, uri: store.uri },
    });
  }
  const { header, sizeBytes } = segment;
  const inode = carriedInode(header, id);
  if (inode.lastCno !== id) return null;
  const geometry = geometryOf(inode, object);
  const areas = segmentAreas({
    ...geometry,
    metaBlocks: header.nmetablk,
    dataBlocks: header.ndatablk,
  });
  const same = inode.metaConfig === known.inode.metaConfig && inode.lastSeq === id;
  if (!same || sizeBytes < areas.endOffset) {
    throw dataError(`Cannot adopt segment ${object}: it does not continue this replica`, {
      context: { object, uri: store.uri, size: sizeBytes },
    });
  }
  const limits = { format: geometry.pointerFormat, segmentIdMax: id };
  checkRoot(rootWords(inode.bmap), limits, object);
  return header.inode.slice(0, InodeRecord.size);
}
