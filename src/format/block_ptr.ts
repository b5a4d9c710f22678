// Block pointers: where a block or a tree node lies. 64 bits, always handled as two unsigned 32-bit
// halves (hi, lo), because they pass through hot loops and do not fit a number.
//
//   hi: location (2 bits: 01 = in a segment), segment id (30 bits)
//   lo: flat: byte offset in the segment
//       micro-group: byte offset / 4096 (18 bits), ordinal of the block in its segment / 16 (14 bits)
//
// Invariant: the encoder refuses what does not fit. (An encoder that masks silently turns offset
// 2^30 into 0.)

import { invariant } from "../base/assert.ts";

/** How `lo` is laid out; byte 0 of the root node's user data. */
export const PointerFormat = { flat: 1, microGroup: 2 } as const;
export type PointerFormat = (typeof PointerFormat)[keyof typeof PointerFormat];

/** Every object in a segment starts at a multiple of this. */
export const POINTER_UNIT_BYTES = 4096;
export const SEGMENT_ID_MAX = 0x3fffffff;

/** The zero block: reads as zeros, occupies no space. */
export const ZERO_BLOCK_HI = 0x3fffffff;
export const ZERO_BLOCK_LO = 0;
/** "Dirty, not yet placed": lives in the memory of other implementations, never on disk. */
export const DUMMY_HI = 0x3fffffff;
export const DUMMY_LO = 0xffffffff;

const LOCATION_SEGMENT = 1;
const ID_MASK = 0x3fffffff;
const GROUP_BITS = 14;
const GROUP_MASK = (1 << GROUP_BITS) - 1;
const OFFSET_LIMIT: Readonly<Record<PointerFormat, number>> = { 1: 2 ** 32, 2: 2 ** 30 };

/** Whether a pointer names a place in a segment (and is neither a special value nor garbage). */
export function isInSegment(hi: number): boolean {
  return hi >>> 30 === LOCATION_SEGMENT && (hi & ID_MASK) !== 0;
}

export function isZeroBlock(hi: number, lo: number): boolean {
  return hi === ZERO_BLOCK_HI && lo === ZERO_BLOCK_LO;
}

export function segmentIdOf(hi: number): number {
  return hi & ID_MASK;
}

export function offsetOf(lo: number, format: PointerFormat): number {
  return format === PointerFormat.flat ? lo : (lo >>> GROUP_BITS) * POINTER_UNIT_BYTES;
}

export function pointerHi(segmentId: number): number {
  if (segmentId < 1 || segmentId > SEGMENT_ID_MAX) {
    invariant(false, `segment id ${segmentId} fits 30 bits`);
  }
  return 0x40000000 | segmentId;
}

/** `seq` is the ordinal of the block in its segment: nodes first, then data. */
export function pointerLo(offsetBytes: number, seq: number, format: PointerFormat): number {
  if (offsetBytes % POINTER_UNIT_BYTES !== 0 || offsetBytes >= OFFSET_LIMIT[format]) {
    invariant(false, `offset ${offsetBytes} can be stored in a pointer`);
  }
  if (format === PointerFormat.flat) return offsetBytes;
  const unit = offsetBytes / POINTER_UNIT_BYTES;
  return (unit * (GROUP_MASK + 1) + ((seq >>> 4) & GROUP_MASK)) >>> 0;
}

/** For messages. */
export function describePointer(hi: number, lo: number, format: PointerFormat): string {
  if (hi === 0 && lo === 0) return "a hole";
  if (isZeroBlock(hi, lo)) return "the zero block";
  if (hi === DUMMY_HI && lo === DUMMY_LO) return "the dummy pointer";
  if (isInSegment(hi)) return `segment ${segmentIdOf(hi)} offset ${offsetOf(lo, format)}`;
  return `0x${hi.toString(16).padStart(8, "0")}${lo.toString(16).padStart(8, "0")}`;
}
