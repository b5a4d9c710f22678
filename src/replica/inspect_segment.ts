// One segment, decoded as far as it goes: header, the inode in it, its entries and its tree nodes.
// Damage is reported where it is found. Memory: the summary, and 1 MiB of nodes at a time.

import { usageError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { describePointer, isInSegment, offsetOf, segmentIdOf } from "../format/block_ptr.ts";
import {
  capacityOf,
  countOf,
  keyAt,
  levelOf,
  newNode,
  nodeBytes,
  nodeProblem,
} from "../format/bmap.ts";
import { InodeRecord } from "../format/inode.ts";
import {
  decodeSegmentHeader,
  ENTRY_WORDS,
  type SegmentAreas,
  segmentAreas,
  SegmentEntry,
  SegmentHeader,
  type SegmentHeaderValues,
  segmentKey,
  SUMMARY_BYTES_MAX,
} from "../format/segment.ts";
import {
  attempt,
  type InodeReport,
  inspectInode,
  type RawFields,
  rawFields,
} from "./inspect_record.ts";
import { carriedInode } from "./inode_reader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { fetchSegmentHeader } from "./segment_header.ts";

const READ_BYTES = MiB;
const DAMAGED_LIST_MAX = 1000;
const TWO_32 = 2 ** 32;

export interface EntryReport {
  readonly block: number;
  readonly pointer: string;
  readonly problem: string | null;
}

export interface StoredNodeReport {
  readonly offset: number;
  readonly level: number;
  readonly count: number;
  readonly capacity: number;
  /** Null for a node whose count is nonsense. */
  readonly firstKey: number | null;
  readonly lastKey: number | null;
  readonly problem: string | null;
}

/** A list that was cut: what is damaged is on it in any case, up to a limit of its own. */
export interface CutList<T> {
  readonly total: number;
  readonly listed: readonly T[];
}

export interface SegmentReport {
  readonly uri: string;
  readonly object: string;
  readonly sizeBytes: number;
  readonly header: RawFields;
  readonly areas: SegmentAreas | null;
  readonly inode: InodeReport;
  /** The segment is a checkpoint: its inode says so. */
  readonly isCheckpoint: boolean;
  readonly entries: CutList<EntryReport>;
  readonly nodes: CutList<StoredNodeReport>;
  readonly problems: readonly string[];
  readonly damaged: number;
}

/** A CutList while it grows. */
export class ListBuilder<T extends { readonly problem: string | null }> {
  readonly listed: T[] = [];
  total = 0;
  damaged = 0;
  readonly #limit: number;
  #damagedListed = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(item: T): void {
    this.total++;
    if (item.problem !== null) this.damaged++;
    if (this.total <= this.#limit) this.listed.push(item);
    else if (item.problem !== null && this.#damagedListed++ < DAMAGED_LIST_MAX) {
      this.listed.push(item);
    }
  }

  get list(): CutList<T> {
    return { total: this.total, listed: this.listed };
  }
}

export interface InspectSegmentOptions extends RequestOptions {
  /** Entries and nodes that are listed, each. */
  readonly limit: number;
}

/** Decodes segment `segmentId`; a usage error when there is none. */
export async function inspectSegment(
  store: ObjectStore,
  segmentId: number,
  options: InspectSegmentOptions,
): Promise<SegmentReport> {
  const { signal, limit } = options;
  const object = segmentKey(segmentId);
  const body = await fetchSegmentHeader(store, segmentId, { signal });
  if (body === null) throw usageError(`Cannot inspect segment ${object}: there is none`);
  const problems: string[] = [];
  const raw = body.bytes;
  const header = attempt(problems, () => decodeSegmentHeader(raw, segmentId));
  const { inode: at } = SegmentHeader.offset;
  const inode = inspectInode(raw.subarray(at, at + InodeRecord.size), object, at);
  // Its own problems are in the report of the inode already.
  if (header !== null && inode.problems.length === 0) {
    attempt(problems, () => carriedInode(header, segmentId));
  }
  const areas = header === null ? null : areasOf(header);
  if (areas !== null && body.size < areas.endOffset) {
    problems.push(`${body.size} bytes of ${areas.endOffset}`);
  }
  const known = { store, segmentId, sizeBytes: body.size, header, areas, inode, limit, signal };
  const entries = await listEntries(known);
  const nodes = await listNodes(known);
  return {
    uri: store.uri,
    object,
    sizeBytes: body.size,
    header: rawFields(SegmentHeader.rows, raw),
    areas,
    inode,
    isCheckpoint: inode.fields.lastCno === segmentId,
    entries: entries.list,
    nodes: nodes.list,
    problems,
    damaged: problems.length + inode.problems.length + entries.damaged + nodes.damaged,
  };
}

function areasOf(header: SegmentHeaderValues): SegmentAreas {
  return segmentAreas({
    metaBlocks: header.nmetablk,
    metaBlockBytes: 2 ** header.metaBlkShift,
    dataBlocks: header.ndatablk,
    dataBlockBytes: 2 ** header.dataBlkShift,
  });
}

interface Known {
  readonly store: ObjectStore;
  readonly segmentId: number;
  readonly sizeBytes: number;
  readonly header: SegmentHeaderValues | null;
  readonly areas: SegmentAreas | null;
  readonly inode: InodeReport;
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
}

async function listEntries(known: Known): Promise<ListBuilder<EntryReport>> {
  const { store, segmentId, areas, inode, signal } = known;
  const list = new ListBuilder<EntryReport>(known.limit);
  if (areas === null || inode.geometry === null) return list;
  const { pointerFormat: format, dataBlockBytes } = inode.geometry;
  const wanted = Math.min(areas.summaryBytes, known.sizeBytes, SUMMARY_BYTES_MAX);
  const count = Math.floor((wanted - SegmentHeader.size) / SegmentEntry.size);
  if (count <= 0) return list;
  const range = { offset: SegmentHeader.size, length: count * SegmentEntry.size };
  const body = await store.get(segmentKey(segmentId), { range, signal });
  const words = new Uint32Array(body?.bytes.slice().buffer ?? new ArrayBuffer(0));
  let previous = -1;
  for (let i = 0; (i + 1) * ENTRY_WORDS <= words.length; i++) {
    const at = i * ENTRY_WORDS;
    const block = words[at] + words[at + 1] * TWO_32;
    const [lo, hi] = [words[at + 2], words[at + 3]];
    const expected = areas.dataOffset + i * dataBlockBytes;
    let problem: string | null = null;
    if (block <= previous) problem = `block ${block} after ${previous}`;
    else if (
      !isInSegment(hi) || segmentIdOf(hi) !== segmentId || offsetOf(lo, format) !== expected
    ) {
      problem = `it points to ${describePointer(hi, lo, format)}, not to offset ${expected}`;
    }
    list.add({ block, pointer: describePointer(hi, lo, format), problem });
    previous = block;
  }
  return list;
}

async function listNodes(known: Known): Promise<ListBuilder<StoredNodeReport>> {
  const { store, segmentId, areas, inode, signal } = known;
  const list = new ListBuilder<StoredNodeReport>(known.limit);
  if (areas === null || inode.geometry === null) return list;
  const { metaBlockBytes, pointerFormat: format } = inode.geometry;
  const end = Math.min(areas.dataOffset, known.sizeBytes);
  const step = Math.max(metaBlockBytes, READ_BYTES);
  for (let from = areas.metaOffset; from + metaBlockBytes <= end; from += step) {
    const range = { offset: from, length: Math.min(step, end - from) };
    const bytes = (await store.get(segmentKey(segmentId), { range, signal }))?.bytes;
    if (bytes === undefined) break;
    for (let at = 0; at + metaBlockBytes <= bytes.length; at += metaBlockBytes) {
      const words = newNode(metaBlockBytes);
      nodeBytes(words).set(bytes.subarray(at, at + metaBlockBytes));
      const count = countOf(words);
      const capacity = capacityOf(words);
      const hasKeys = count >= 1 && count <= capacity;
      list.add({
        offset: from + at,
        level: levelOf(words),
        count,
        capacity,
        firstKey: hasKeys ? keyAt(words, 0) : null,
        lastKey: hasKeys ? keyAt(words, count - 1) : null,
        problem: nodeProblem(words, { format, segmentIdMax: segmentId }),
      });
    }
  }
  return list;
}
