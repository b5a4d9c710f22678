// Records of a replica as they lie there, whatever they hold: the inode, and the parts that the
// inspections share. Nothing here throws because of what it decodes. Callers: inspect_*.ts.

import { messageOf, ReplicaError } from "../base/errors.ts";
import { type StructRow, viewOf } from "../base/struct.ts";
import { describePointer, PointerFormat } from "../format/block_ptr.ts";
import {
  countOf,
  DIRECT_BLOCKS,
  directWord,
  isDirect,
  keyAt,
  levelOf,
  type NodeWords,
  ROOT_CAPACITY,
  rootProblem,
  rootWords,
  valueWord,
} from "../format/bmap.ts";
import { decodeInode, type Geometry, geometryOf, InodeRecord } from "../format/inode.ts";

/** Field by field; integers above 2^53 are text. */
export type RawFields = Readonly<Record<string, number | string>>;

export interface RootReport {
  readonly form: "direct" | "tree";
  readonly level: number;
  readonly count: number;
  readonly entries: readonly { readonly key: number; readonly pointer: string }[];
}

export interface InodeReport {
  readonly object: string;
  readonly offset: number;
  readonly fields: RawFields;
  /** Null when the inode does not say it in a way that can be. */
  readonly geometry: Geometry | null;
  readonly root: RootReport | null;
  readonly problems: readonly string[];
}

/** The integers of a record, and its bytes as hexadecimal text. */
export function rawFields(rows: readonly StructRow[], raw: Uint8Array): RawFields {
  const view = viewOf(raw);
  const fields: Record<string, number | string> = {};
  for (const { field, type, offset, size } of rows) {
    if (offset + size > raw.length) break;
    if (type === "u64") {
      const value = view.getBigUint64(offset, true);
      fields[field] = Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    } else if (type === "u32") fields[field] = view.getUint32(offset, true);
    else if (type === "u16") fields[field] = view.getUint16(offset, true);
    else if (type === "u8") fields[field] = view.getUint8(offset);
  }
  return fields;
}

/** What `run` returns, or null and the data error that it threw as a problem. */
export function attempt<T>(problems: string[], run: () => T): T | null {
  try {
    return run();
  } catch (error) {
    problems.push(problemOf(error));
    return null;
  }
}

/** The message of a data error; everything else is thrown on. */
export function problemOf(error: unknown): string {
  if (error instanceof ReplicaError && error.kind === "data") return messageOf(error);
  throw error;
}

/** Decodes the inode in `raw`, which lies at `offset` of `object`. */
export function inspectInode(raw: Uint8Array, object: string, offset: number): InodeReport {
  const problems: string[] = [];
  const fields = rawFields(InodeRecord.rows, raw);
  if (raw.length < InodeRecord.size) {
    problems.push(`${raw.length} bytes of ${InodeRecord.size}`);
    return { object, offset, fields, geometry: null, root: null, problems };
  }
  const inode = attempt(problems, () => decodeInode(raw, object, offset));
  const at = InodeRecord.offset.bmap;
  const root = rootWords(raw.subarray(at, InodeRecord.size));
  const geometry = inode === null ? null : attempt(problems, () => geometryOf(inode, object));
  const format = geometry?.pointerFormat ?? PointerFormat.microGroup;
  if (inode !== null && geometry !== null) {
    const problem = rootProblem(root, { format, segmentIdMax: inode.lastCno });
    if (problem !== null) problems.push(`root of the block map: ${problem}`);
  }
  return { object, offset, fields, geometry, root: rootReport(root, format), problems };
}

function rootReport(root: NodeWords, format: PointerFormat): RootReport {
  const entries: { key: number; pointer: string }[] = [];
  const direct = isDirect(root);
  const count = direct ? DIRECT_BLOCKS : Math.min(countOf(root), ROOT_CAPACITY);
  for (let i = 0; i < count; i++) {
    const at = direct ? directWord(i) : valueWord(root, i);
    if (direct && root[at] === 0 && root[at + 1] === 0) continue;
    const key = direct ? i : keyAt(root, i);
    entries.push({ key, pointer: describePointer(root[at + 1], root[at], format) });
  }
  const form = direct ? "direct" : "tree";
  return { form, level: levelOf(root), count: direct ? entries.length : countOf(root), entries };
}
