// A segment: one immutable object with everything that one flush wrote.
//
//   header (208) | entries (16 each) | zeros to 4096 | tree nodes | data blocks
//
// The entries describe the data blocks in order: block index and pointer. The header carries the
// inode of the checkpoint, so a segment opens that checkpoint without any other object's help.

import { dataError } from "../base/errors.ts";
import { bytes, struct, u16, u32, u64, u8, type ValuesOf, viewOf } from "../base/struct.ts";
import { alignUp, MiB } from "../base/units.ts";
import { POINTER_UNIT_BYTES, SEGMENT_ID_MAX } from "./block_ptr.ts";
import { InodeRecord } from "./inode.ts";

export const SEGMENT_MAGIC = 0x48465353;

export const SegmentHeader = struct("SegmentHeader", 208, {
  magic: u32,
  chksum: u32,
  bytes: u32,
  flags: u16,
  metaBlkShift: u8,
  dataBlkShift: u8,
  next: u64,
  inode: bytes(InodeRecord.size),
  ino: u64,
  cno: u64,
  nmetablk: u32,
  ndatablk: u32,
});
export type SegmentHeaderValues = ValuesOf<typeof SegmentHeader>;

export const SegmentEntry = struct("SegmentEntry", 16, { blockIndex: u64, pointer: u64 });

/** Words of 32 bits in an entry, for code that walks them in place. */
export const ENTRY_WORDS = SegmentEntry.size / 4;

/** Our writer never makes a segment longer than this; the format allows just under 1 GiB. */
export const SEGMENT_BYTES_MAX = 512 * MiB;

const KEY_DIGITS = 10;
const KEY_PATTERN = /^\d{10}$/;

/** The object key of a segment below the replica's root. */
export function segmentKey(segmentId: number): string {
  return String(segmentId).padStart(KEY_DIGITS, "0");
}

/** The id in a segment's key, or null for any other key. */
export function parseSegmentKey(key: string): number | null {
  if (!KEY_PATTERN.test(key)) return null;
  const id = Number(key);
  return id >= 1 && id <= SEGMENT_ID_MAX ? id : null;
}

/** Where the parts of a segment lie. */
export interface SegmentAreas {
  /** Length of header and entries. */
  readonly summaryBytes: number;
  readonly metaOffset: number;
  readonly dataOffset: number;
  readonly endOffset: number;
}

export function segmentAreas(counts: {
  metaBlocks: number;
  metaBlockBytes: number;
  dataBlocks: number;
  dataBlockBytes: number;
}): SegmentAreas {
  const summaryBytes = SegmentHeader.size + SegmentEntry.size * counts.dataBlocks;
  const metaOffset = alignUp(summaryBytes, POINTER_UNIT_BYTES);
  const dataOffset = metaOffset + counts.metaBlocks * counts.metaBlockBytes;
  const endOffset = dataOffset + counts.dataBlocks * counts.dataBlockBytes;
  return { summaryBytes, metaOffset, dataOffset, endOffset };
}

/** More entries than a segment of the greatest size could have blocks for are nonsense. */
export const SUMMARY_BYTES_MAX = 16 * MiB;

/** Reads and checks a segment's header. `raw` starts at the segment's first byte. */
export function decodeSegmentHeader(raw: Uint8Array, segmentId: number): SegmentHeaderValues {
  const object = segmentKey(segmentId);
  const context = { object, offset: 0 };
  if (raw.length < SegmentHeader.size) {
    throw dataError(`Cannot read segment ${object}: ${raw.length} bytes of a header of 208`, {
      context,
    });
  }
  const header = SegmentHeader.decode(viewOf(raw));
  let problem: string | null = null;
  if (header.magic !== SEGMENT_MAGIC) problem = `magic 0x${header.magic.toString(16)}`;
  else if (header.cno !== BigInt(segmentId)) problem = `it calls itself ${header.cno}`;
  else if (header.bytes !== SegmentHeader.size + SegmentEntry.size * header.ndatablk) {
    problem = `summary of ${header.bytes} bytes for ${header.ndatablk} data blocks`;
  }
  if (problem !== null) {
    throw dataError(`Cannot read segment ${object}: ${problem}`, { context });
  }
  return header;
}
