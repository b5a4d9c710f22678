// What a replica is made of: side-car, newest inode, checkpoints and everything else under its root.
// Goes on past damage. Memory: the checkpoints that are listed, and a few bytes per segment.

import { DEVICE_CARD_KEY, type StoredCard } from "../format/device_card.ts";
import { INODE_KEY } from "../format/inode.ts";
import { parseSegmentKey, segmentKey } from "../format/segment.ts";
import { type CheckpointInfo, listCheckpoints, readHead } from "./inode_reader.ts";
import { type InodeReport, problemOf } from "./inspect_record.ts";
import type { CutList } from "./inspect_segment.ts";
import { readRawInode } from "./inspect_tree.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { readDeviceCard } from "./read_device_card.ts";

const OTHERS_MAX = 20;

export interface ReplicaReport {
  readonly uri: string;
  /** Null for a replica of another tool, and for a card that can't be read. */
  readonly card: StoredCard | null;
  readonly cardProblem: string | null;
  readonly inode: InodeReport;
  /** The newest ones, ascending; their total counts segments, published or not. */
  readonly checkpoints: CutList<CheckpointInfo>;
  readonly segmentsBytes: number;
  /** Above the newest checkpoint: written but never published. */
  readonly orphans: readonly number[];
  /** Objects that are not part of a Hyperfile; the first of them. */
  readonly others: readonly string[];
  readonly problems: readonly string[];
  readonly damaged: number;
}

export interface InspectReplicaOptions extends RequestOptions {
  /** Look at this checkpoint and those before it. */
  readonly cno?: number;
  /** Checkpoints that are listed. */
  readonly limit: number;
}

/** Looks at a whole replica; a usage error when there is no inode. */
export async function inspectReplica(
  store: ObjectStore,
  options: InspectReplicaOptions,
): Promise<ReplicaReport> {
  const { cno, limit, signal } = options;
  const problems: string[] = [];
  const card = await orProblem(problems, () => readDeviceCard(store, { signal }));
  const cardProblem = problems.at(0) ?? null;
  const { raw: _, ...inode } = await readRawInode(store, { cno, signal });
  // Where the inode itself is sound, this finds what contradicts it.
  if (cno === undefined && inode.problems.length === 0) {
    await orProblem(problems, () => readHead(store, { signal }));
  }
  const newest = newestOf(inode, cno);
  const objects = await listObjects(store, newest, signal);
  const listed: CheckpointInfo[] = [];
  const from = objects.published.at(-limit) ?? 1;
  if (limit > 0 && objects.published.length > 0) {
    for await (const checkpoint of listCheckpoints(store, { from, signal })) {
      if (checkpoint.cno > newest) break;
      listed.push(checkpoint);
    }
  }
  const damaged = problems.length + inode.problems.length +
    listed.filter(({ damage }) => damage !== null).length;
  return {
    uri: store.uri,
    card,
    cardProblem,
    inode,
    checkpoints: { total: objects.published.length, listed },
    segmentsBytes: objects.bytes,
    orphans: objects.orphans,
    others: objects.others,
    problems,
    damaged,
  };
}

/** The newest checkpoint that is looked at; Infinity when nothing tells. */
function newestOf(inode: InodeReport, cno: number | undefined): number {
  if (cno !== undefined) return cno;
  const { lastCno } = inode.fields;
  return inode.geometry !== null && typeof lastCno === "number" ? lastCno : Infinity;
}

async function listObjects(store: ObjectStore, newest: number, signal: AbortSignal | undefined) {
  const published: number[] = [];
  const orphans: number[] = [];
  const others: string[] = [];
  let bytes = 0;
  for await (const { key, size } of store.list({ signal })) {
    const id = parseSegmentKey(key);
    if (id === null) {
      const known = key === INODE_KEY || key === DEVICE_CARD_KEY;
      if (!known && others.length < OTHERS_MAX) others.push(key);
      continue;
    }
    bytes += size;
    if (id <= newest) published.push(id);
    else orphans.push(id);
  }
  return { published, orphans, others, bytes };
}

async function orProblem<T>(problems: string[], run: () => Promise<T>): Promise<T | null> {
  try {
    return await run();
  } catch (error) {
    problems.push(problemOf(error));
    return null;
  }
}

/** For messages: "0000000012". */
export function orphanNames(orphans: readonly number[], max: number): string {
  const names = orphans.slice(0, max).map(segmentKey).join(", ");
  return orphans.length > max ? `${names} and ${orphans.length - max} more` : names;
}
