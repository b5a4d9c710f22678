// What a start has to know before it decides, from the primary's metadata and maps and from the replica:
// the facts of replication/startup.ts. Reads only.
//
// Caller: attach.ts, when it looks and again when it has claimed.

import { ReplicaError } from "../base/errors.ts";
import { emptyRoot, nodeBytes, rootWords } from "../format/bmap.ts";
import type { Inode } from "../format/inode.ts";
import type { PrimaryMetadata } from "../primary/metadata.ts";
import { readCheckpointDigest } from "../replica/checkpoint_digest.ts";
import { checkpointBetween, type KnownInode, readCheckpoint } from "../replica/inode_reader.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { requireDeviceCard } from "../replica/read_device_card.ts";
import { hasStamp } from "../replica/touch_inode.ts";
import { findChanged } from "../replica/tree_diff.ts";
import type { StartState, StartupFacts } from "../replication/startup.ts";
import type { MarkedBlocks } from "./marked_blocks.ts";
import type { StagedFound, StagedStart } from "./staged_start.ts";

/** Tree nodes that are read for evidence, so that a start stays one of seconds after a huge checkpoint. */
const EVIDENCE_NODES_MAX = 2048;

export interface FactsOptions {
  readonly metadata: PrimaryMetadata;
  readonly primaryState: StartState;
  /** Regions that the primary's map names. */
  readonly dirtyRegions: number;
  /** The blocks that it names, and the staged map. */
  readonly marked: Pick<MarkedBlocks, "has">;
  /** Null: the primary has no staged map. */
  readonly staged: StagedStart | null;
  readonly skipInitialSync: boolean;
  readonly force: boolean;
  readonly signal: AbortSignal;
}

/**
 * What was staged after a checkpoint before this one is published, and recorded. Without the record the
 * maps have to go on naming it: were its staged marks gone, and this start cut short, the next one would
 * take the published blocks for those of a run that this primary knows nothing of. By force also a replica
 * is followed that is not this primary's: its numbers say nothing.
 */
export function unpublishedFrom(replicaCno: number, { metadata }: FactsOptions): number {
  return Math.min(replicaCno, metadata.lastFlush?.cno ?? 0);
}

/** Reads only. `head`: of the replica; `found`: what an earlier run has staged and can be gone on with. */
export async function factsOf(
  store: ObjectStore,
  { inode }: KnownInode,
  options: FactsOptions,
  found: StagedFound | null,
): Promise<StartupFacts> {
  const { metadata, primaryState, skipInitialSync, force, staged, signal } = options;
  const replicaCno = inode.lastCno;
  const primaryCno = metadata.lastFlush?.cno ?? 0;
  const unpublished = unpublishedFrom(replicaCno, options);
  const unrecordedCno = primaryState !== "active" ? null : await checkpointBetween(
    store,
    { after: primaryCno, before: replicaCno },
    { signal },
  );
  const undeclared = staged?.undeclaredRegions(unpublished, found !== null) ?? 0;
  return {
    primaryState,
    primaryCno,
    replicaCno,
    replicaCommitIsOwn: replicaCno <= primaryCno ||
      await isOwnCommit(store, replicaCno, options),
    recordedIsThere: await isRecordedThere(store, options),
    unrecordedCno,
    unmarkedBlock: primaryState === "active" && replicaCno > primaryCno && unrecordedCno === null
      ? await unmarkedBlock(store, inode, options)
      : null,
    dirtyRegions: options.dirtyRegions + undeclared,
    staged: found === null ? null : found.tag.isWhole ? "whole" : "part",
    skipInitialSync,
    force,
  };
}

/** False: the replica has another checkpoint of the number that the primary recorded last, or none. */
async function isRecordedThere(
  store: ObjectStore,
  { metadata: { lastFlush }, signal }: FactsOptions,
): Promise<boolean> {
  if (lastFlush === null || lastFlush.cno === 0 || lastFlush.checkpointDigest === "") return true;
  const digest = await readCheckpointDigest(store, lastFlush.cno, { signal });
  return digest === lastFlush.checkpointDigest;
}

/**
 * A block that differs between the recorded checkpoint and the newest, `after`, without the primary's maps
 * naming it; null: none was found.
 */
async function unmarkedBlock(
  store: ObjectStore,
  after: Inode,
  { metadata, marked, signal }: FactsOptions,
): Promise<number | null> {
  try {
    const cno = metadata.lastFlush?.cno ?? 0;
    const before = cno === 0 ? emptied(after) : await readCheckpoint(store, cno, { signal });
    const isWanted = (block: number) => !marked.has(block);
    const nodesMax = EVIDENCE_NODES_MAX;
    const trees = { before, after };
    return (await findChanged(store, trees, { isWanted, nodesMax, signal })).block;
  } catch (error) {
    // What is damaged, or gone, says nothing of where the primary comes from.
    const isNoEvidence = error instanceof ReplicaError &&
      (error.kind === "data" || error.kind === "usage");
    if (isNoEvidence) return null;
    throw error;
  }
}

/** The inode before the first checkpoint, which no segment has. */
function emptied(inode: Inode): Inode {
  const userData = rootWords(inode.bmap)[1];
  return { ...inode, lastSeq: 0, lastCno: 0, bmap: nodeBytes(emptyRoot(userData)) };
}

/** Whether checkpoint `cno` was written under the last claim that this primary held. */
async function isOwnCommit(
  store: ObjectStore,
  cno: number,
  { metadata, signal }: FactsOptions,
): Promise<boolean> {
  const { claim } = metadata.superblock;
  if (claim === null || claim.heldEpoch === 0) {
    // Before the first claim of all there was one primary that knew the replica: this one.
    const { card } = await requireDeviceCard(store, metadata.superblock, { signal });
    return claim === null ? card.epoch === 0 : claim.epoch === 1 && card.epoch <= 1;
  }
  return hasStamp(await readCheckpoint(store, cno, { signal }), claim.heldEpoch);
}
