// What the kernel says about a primary: its kind, sizes, cache and identity.
// Reads ioctls of an open descriptor and sysfs; writes nothing. Callers: block_device.ts.

import { check } from "../../ffi/errno.ts";
import { openLibc } from "../../ffi/libc.ts";
import { cString } from "../../ffi/memory.ts";
import { unlessMissingSync } from "../base/files.ts";
import { bytes, struct, u32, viewOf } from "../base/struct.ts";
import { SECTOR } from "../base/units.ts";

// Requests of linux/fs.h.
const BLKGETSIZE64 = 0x80081272n;
const BLKSSZGET = 0x1268n;
const BLKPBSZGET = 0x127bn;

const AT_EMPTY_PATH = 0x1000;
const STATX_DIOALIGN = 0x2000;

/** `struct statx` of linux/stat.h, as far as it is read here. */
const Statx = struct("statx", 256, {
  mask: u32,
  before: bytes(148),
  dioMemAlign: u32,
  dioOffsetAlign: u32,
  after: bytes(96),
});

export type PrimaryKind = "block device" | "file";

export interface DiskGeometry {
  readonly kind: PrimaryKind;
  readonly sizeBytes: number;
  /** Smallest unit of direct I/O. */
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  /** Acknowledged writes may be in volatile memory until a flush. Always assumed of files. */
  readonly volatileCache: boolean;
  /** The drive has forced unit access. */
  readonly fua: boolean;
  readonly rotational: boolean;
  /** 0: the drive can't discard. Files are punched instead: no limit. */
  readonly discardBytesMax: number;
  readonly discardGranularityBytes: number;
  /** "259:1": of the block device itself, or of the one that a file's file system is on. */
  readonly deviceNumber: string;
  /** Of a file; with the device number it is the file's identity. */
  readonly inode: number;
}

/** "major:minor" of a device number as stat(2) gives it. */
export function deviceNumberText(rdev: number): string {
  const dev = BigInt(rdev);
  const major = (dev >> 8n & 0xfffn) | (dev >> 32n & ~0xfffn);
  const minor = (dev & 0xffn) | (dev >> 12n & 0xffffff00n);
  return `${major}:${minor}`;
}

/** The geometry of an open descriptor whose stat(2) is `info`. */
export function readGeometry(fd: number, info: Deno.FileInfo, name: string): DiskGeometry {
  return info.isBlockDevice ? ofDevice(fd, info, name) : ofFile(fd, info);
}

function ofDevice(fd: number, info: Deno.FileInfo, name: string): DiskGeometry {
  const deviceNumber = deviceNumberText(info.rdev ?? 0);
  const queue = queueOf(deviceNumber);
  const size = new BigUint64Array(1);
  ioctl(fd, BLKGETSIZE64, size, `ask the size of ${name}`);
  return {
    kind: "block device",
    sizeBytes: Number(size[0]),
    logicalBlockBytes: ioctl32(fd, BLKSSZGET, `ask the logical block size of ${name}`),
    physicalBlockBytes: ioctl32(fd, BLKPBSZGET, `ask the physical block size of ${name}`),
    volatileCache: queue("write_cache") !== "write through",
    fua: queue("fua") === "1",
    rotational: queue("rotational") === "1",
    discardBytesMax: Number(queue("discard_max_bytes") ?? 0),
    discardGranularityBytes: Number(queue("discard_granularity") ?? 0),
    deviceNumber,
    inode: 0,
  };
}

function ofFile(fd: number, info: Deno.FileInfo): DiskGeometry {
  const deviceNumber = deviceNumberText(info.dev);
  const blockBytes = directAlignment(fd) ??
    Number(queueOf(deviceNumber)("logical_block_size") ?? 0);
  return {
    kind: "file",
    sizeBytes: info.size,
    logicalBlockBytes: Math.max(SECTOR, blockBytes),
    physicalBlockBytes: Math.max(SECTOR, blockBytes, info.blksize ?? 0),
    volatileCache: true,
    fua: false,
    rotational: false,
    discardBytesMax: Number.MAX_SAFE_INTEGER,
    discardGranularityBytes: info.blksize ?? 4096,
    deviceNumber,
    inode: info.ino ?? 0,
  };
}

/** Reads attributes of a block device's queue; a partition's is its disk's. */
function queueOf(deviceNumber: string): (attribute: string) => string | null {
  const directory = `/sys/dev/block/${deviceNumber}`;
  return (attribute) =>
    readAttribute(`${directory}/queue/${attribute}`) ??
      readAttribute(`${directory}/../queue/${attribute}`);
}

function readAttribute(path: string): string | null {
  return unlessMissingSync(() => Deno.readTextFileSync(path).trim());
}

function ioctl(fd: number, request: bigint, out: BigUint64Array | Int32Array, call: string): void {
  const view = new Uint8Array(out.buffer as ArrayBuffer);
  check(openLibc().ioctl(fd, request, view), call);
}

function ioctl32(fd: number, request: bigint, call: string): number {
  const out = new Int32Array(1);
  ioctl(fd, request, out, call);
  return out[0];
}

/** The file's direct I/O alignment where the kernel (6.1 and later) tells it. */
function directAlignment(fd: number): number | null {
  const out = new Uint8Array(Statx.size);
  const failed = openLibc().statx(fd, cString(""), AT_EMPTY_PATH, STATX_DIOALIGN, out) !== 0;
  const { mask, dioOffsetAlign } = Statx.decode(viewOf(out));
  if (failed || (mask & STATX_DIOALIGN) === 0 || dioOffsetAlign === 0) return null;
  return dioOffsetAlign;
}
