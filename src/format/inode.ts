// The inode: 160 bytes that name a file's size, formats, numbers and the root of its block map. The
// object "inode" holds the newest one; every segment carries the one of its checkpoint.
//
// It has no magic, version or checksum, so everything in it is checked for plausibility.

import { dataError, usageError } from "../base/errors.ts";
import { invariant } from "../base/assert.ts";
import { bytes, size64, struct, u32, u64, type ValuesOf, viewOf } from "../base/struct.ts";
import { isPowerOfTwo } from "../base/units.ts";
import { PointerFormat, SEGMENT_ID_MAX } from "./block_ptr.ts";
import { emptyRoot, nodeBytes, ROOT_BYTES, rootWords } from "./bmap.ts";

export const INODE_KEY = "inode";

export const InodeRecord = struct("Inode", 160, {
  ino: u64,
  blocks: u64,
  size: size64,
  atime: u64,
  ctime: u64,
  mtime: u64,
  atimeNsec: u32,
  ctimeNsec: u32,
  mtimeNsec: u32,
  metaConfig: u32,
  uid: u32,
  gid: u32,
  mode: u32,
  flags: u32,
  nlink: u64,
  lastSeq: size64,
  lastCno: size64,
  bmap: bytes(ROOT_BYTES),
});
export type Inode = ValuesOf<typeof InodeRecord>;

const DEFAULT_MODE = 0o100644;
const DEFAULT_OWNER = 1000;
const DEFAULT_BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;
const SHIFT_MIN = 12;
/** Above this, a node's count of children would not fit its 16 bits. */
const META_SHIFT_MAX = 20;
const DATA_SHIFT_MAX = 30;

/** What `metaConfig` says, and the pointer format that is really in force. */
export interface Geometry {
  readonly metaBlockBytes: number;
  readonly dataBlockBytes: number;
  /** From the root's user data: other writers store a wrong one in metaConfig. */
  readonly pointerFormat: PointerFormat;
}

/** log2 of the block sizes, as segments and metaConfig store them. */
export function shiftOf(blockBytes: number): number {
  return Math.log2(blockBytes);
}

export function encodeMetaConfig(geometry: Geometry): number {
  const shifts = shiftOf(geometry.metaBlockBytes) * 0x10000 +
    shiftOf(geometry.dataBlockBytes) * 0x100;
  return (ROOT_BYTES / 8) * 0x1000000 + shifts + geometry.pointerFormat;
}

/** Whether the format has blocks of this size; the reason why not, else null. */
export function blockSizeProblem(blockBytes: number, kind: "meta" | "data"): string | null {
  const shift = Math.log2(blockBytes);
  const shiftMax = kind === "meta" ? META_SHIFT_MAX : DATA_SHIFT_MAX;
  if (!isPowerOfTwo(blockBytes)) return `${blockBytes} is not a power of two`;
  if (shift < SHIFT_MIN) return `${blockBytes} is below 4096`;
  if (shift > shiftMax) return `${blockBytes} is above ${2 ** shiftMax}`;
  return null;
}

/** Reads and checks an inode. `object` and `offset` say where it came from, for messages. */
export function decodeInode(raw: Uint8Array, object: string, offset = 0): Inode {
  const context = { object, offset };
  if (raw.length < InodeRecord.size) {
    throw dataError(`Cannot read the inode of ${object}: ${raw.length} bytes of 160`, { context });
  }
  let inode: Inode;
  try {
    inode = InodeRecord.decode(viewOf(raw));
  } catch (cause) {
    throw dataError(`Cannot read the inode of ${object}: a field is out of range`, {
      context,
      cause,
    });
  }
  if (inode.lastCno > inode.lastSeq || inode.lastSeq > SEGMENT_ID_MAX) {
    throw dataError(
      `Cannot read the inode of ${object}: last checkpoint ${inode.lastCno}, last segment ${inode.lastSeq}`,
      { context },
    );
  }
  return inode;
}

/** The block sizes and the pointer format of a decoded inode; data errors on nonsense. */
export function geometryOf(inode: Inode, object: string): Geometry {
  const config = inode.metaConfig;
  const metaShift = (config >>> 16) & 0xff;
  const dataShift = (config >>> 8) & 0xff;
  const pointerFormat = rootWords(inode.bmap)[1] & 0xff;
  let problem: string | null = null;
  if (config >>> 24 !== ROOT_BYTES / 8) problem = `root of ${(config >>> 24) * 8} bytes`;
  else if (metaShift < SHIFT_MIN || metaShift > META_SHIFT_MAX) problem = `meta shift ${metaShift}`;
  else if (dataShift < SHIFT_MIN || dataShift > DATA_SHIFT_MAX) problem = `data shift ${dataShift}`;
  else if (pointerFormat !== PointerFormat.flat && pointerFormat !== PointerFormat.microGroup) {
    problem = `pointer format ${pointerFormat}`;
  }
  if (problem !== null) {
    throw dataError(`Cannot read the inode of ${object}: unknown ${problem}`, {
      context: { object },
      hint: "This is not a Hyperfile of a kind that this program knows, or it is damaged.",
    });
  }
  return {
    metaBlockBytes: 2 ** metaShift,
    dataBlockBytes: 2 ** dataShift,
    pointerFormat: pointerFormat as PointerFormat,
  };
}

/** Seconds and nanoseconds of a time in milliseconds. */
export function splitTime(ms: number): { seconds: bigint; nanoseconds: number } {
  invariant(ms >= 0 && Number.isFinite(ms), `${ms} is a time after 1970`);
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanoseconds: Math.round((ms - seconds * 1000) * 1e6) };
}

/** `i_blocks`: sectors of the apparent size. */
export function apparentSectors(sizeBytes: number): bigint {
  return BigInt(Math.ceil(sizeBytes / SECTOR_BYTES));
}

export interface NewInodeOptions {
  readonly metaBlockBytes?: number;
  readonly dataBlockBytes?: number;
  readonly sizeBytes?: number;
  readonly createdMs: number;
}

/** The inode of a new, empty file; a usage error on block sizes that the format does not have. */
export function newInode(options: NewInodeOptions): Inode {
  const { metaBlockBytes = DEFAULT_BLOCK_BYTES, dataBlockBytes = DEFAULT_BLOCK_BYTES } = options;
  for (const [kind, size] of [["meta", metaBlockBytes], ["data", dataBlockBytes]] as const) {
    const problem = blockSizeProblem(size, kind);
    if (problem !== null) {
      throw usageError(`Cannot create a replica: ${kind} block size ${problem}`);
    }
  }
  const ctime = splitTime(options.createdMs);
  const size = options.sizeBytes ?? 0;
  const pointerFormat = PointerFormat.microGroup;
  return {
    ino: 0n,
    blocks: apparentSectors(size),
    size,
    atime: 0n,
    ctime: ctime.seconds,
    mtime: 0n,
    atimeNsec: 0,
    ctimeNsec: ctime.nanoseconds,
    mtimeNsec: 0,
    metaConfig: encodeMetaConfig({ metaBlockBytes, dataBlockBytes, pointerFormat }),
    uid: DEFAULT_OWNER,
    gid: DEFAULT_OWNER,
    mode: DEFAULT_MODE,
    flags: 0,
    nlink: 1n,
    lastSeq: 0,
    lastCno: 0,
    bmap: nodeBytes(emptyRoot(pointerFormat)),
  };
}

/** `inode` with another size, as of `mtimeMs`. */
export function resizedInode(inode: Inode, sizeBytes: number, mtimeMs: number): Inode {
  const { seconds: mtime, nanoseconds: mtimeNsec } = splitTime(mtimeMs);
  return { ...inode, size: sizeBytes, blocks: apparentSectors(sizeBytes), mtime, mtimeNsec };
}
