// What lies on a primary before it is formatted: file systems and partition tables, and above all
// where they end. Data on a primary is welcome (it becomes the device's content), but the metadata at
// the end would overwrite the end of a file system that fills the whole primary.
//
// Only kinds that tell their size are known here; whatever else there may be is found by blkid
// (src/primary/foreign.ts), without a size.
//
// Pure. Callers: src/primary/foreign.ts.

import { viewOf } from "../base/struct.ts";
import { KiB, SECTOR } from "../base/units.ts";

/** Bytes from the primary's start that the recognition wants to see. */
export const SIGNATURE_HEAD_BYTES = 128 * KiB;

export interface ForeignContent {
  /** "ext4", "xfs", "gpt", … */
  readonly type: string;
  /** First byte after it; null when it does not tell. */
  readonly endBytes: number | null;
}

interface Signature {
  readonly type: string;
  readonly offset: number;
  readonly magic: string | readonly number[];
  /** Reads where it ends; `at` is where the magic is. */
  end(view: DataView, at: number): number;
}

const PARTITION_ENTRIES = 4;
const SWAP_PAGE = 4096;

/** Offsets inside foreign headers, named after the fields of their own documentation. */
const EXT = {
  super: 1024,
  blocksLow: 4,
  logBlockSize: 24,
  magic: 56,
  incompat: 96,
  blocksHigh: 336,
};
const EXT_64BIT = 0x80;
const XFS = { blockSize: 4, dataBlocks: 8 };
const BTRFS = { super: 64 * KiB, magic: 64, totalBytes: 112 };
const NTFS = { oem: 3, bytesPerSector: 11, totalSectors: 40 };
const EXFAT = { oem: 3, volumeLength: 72, sectorShift: 108 };
const FAT = { bytesPerSector: 11, sectors16: 19, sectors32: 32, type16: 54, type32: 82 };
const SWAP = { lastPage: 1028, magic: SWAP_PAGE - 10 };
const F2FS = { super: 1024, logBlockSize: 16, blockCount: 36 };
const SQUASHFS = { bytesUsed: 40 };
const GPT = { alternateLba: 32 };
const MBR = { entries: 446, entrySize: 16, start: 8, count: 12, magic: 510 };

function u64At(view: DataView, at: number, littleEndian = true): number {
  return Number(view.getBigUint64(at, littleEndian));
}

function extEnd(view: DataView, magicAt: number): number {
  const at = magicAt - EXT.magic;
  const wide = (view.getUint32(at + EXT.incompat, true) & EXT_64BIT) !== 0;
  const high = wide ? view.getUint32(at + EXT.blocksHigh, true) : 0;
  const blocks = high * 2 ** 32 + view.getUint32(at + EXT.blocksLow, true);
  return blocks * KiB * 2 ** view.getUint32(at + EXT.logBlockSize, true);
}

function fatEnd(view: DataView, at: number): number {
  const sectors = view.getUint16(at + FAT.sectors16, true) ||
    view.getUint32(at + FAT.sectors32, true);
  return sectors * view.getUint16(at + FAT.bytesPerSector, true);
}

const SIGNATURES: readonly Signature[] = [
  { type: "ext2/3/4", offset: EXT.super + EXT.magic, magic: [0x53, 0xef], end: extEnd },
  {
    type: "xfs",
    offset: 0,
    magic: "XFSB",
    end: (view) => view.getUint32(XFS.blockSize) * u64At(view, XFS.dataBlocks, false),
  },
  {
    type: "btrfs",
    offset: BTRFS.super + BTRFS.magic,
    magic: "_BHRfS_M",
    end: (view) => u64At(view, BTRFS.super + BTRFS.totalBytes),
  },
  {
    type: "ntfs",
    offset: NTFS.oem,
    magic: "NTFS    ",
    // One more sector: the backup of the boot sector lies behind the volume.
    end: (view) => (u64At(view, NTFS.totalSectors) + 1) * view.getUint16(NTFS.bytesPerSector, true),
  },
  {
    type: "exfat",
    offset: EXFAT.oem,
    magic: "EXFAT   ",
    end: (view) => u64At(view, EXFAT.volumeLength) * 2 ** view.getUint8(EXFAT.sectorShift),
  },
  { type: "vfat", offset: FAT.type16, magic: "FAT1", end: (view) => fatEnd(view, 0) },
  { type: "vfat", offset: FAT.type32, magic: "FAT32", end: (view) => fatEnd(view, 0) },
  {
    type: "swap",
    offset: SWAP.magic,
    magic: "SWAPSPACE2",
    end: (view) => (view.getUint32(SWAP.lastPage, true) + 1) * SWAP_PAGE,
  },
  {
    type: "f2fs",
    offset: F2FS.super,
    magic: [0x10, 0x20, 0xf5, 0xf2],
    end: (view, at) =>
      u64At(view, at + F2FS.blockCount) * 2 ** view.getUint32(at + F2FS.logBlockSize, true),
  },
  {
    type: "squashfs",
    offset: 0,
    magic: "hsqs",
    end: (view) => u64At(view, SQUASHFS.bytesUsed),
  },
  // The header is in the second logical block, and the backup at the very end of the disk.
  ...[SECTOR, 4 * KiB].map((blockBytes): Signature => ({
    type: "gpt",
    offset: blockBytes,
    magic: "EFI PART",
    end: (view, at) => (u64At(view, at + GPT.alternateLba) + 1) * blockBytes,
  })),
];

/** A partition table of the old kind, when its four entries are plausible. */
function mbr(head: Uint8Array, view: DataView): ForeignContent | null {
  if (head[MBR.magic] !== 0x55 || head[MBR.magic + 1] !== 0xaa) return null;
  let endBytes = 0;
  for (let i = 0; i < PARTITION_ENTRIES; i++) {
    const at = MBR.entries + i * MBR.entrySize;
    if ((head[at] & 0x7f) !== 0) return null;
    const start = view.getUint32(at + MBR.start, true);
    const count = view.getUint32(at + MBR.count, true);
    if (count !== 0) endBytes = Math.max(endBytes, (start + count) * SECTOR);
  }
  return endBytes === 0 ? null : { type: "dos partition table", endBytes };
}

/** What the first SIGNATURE_HEAD_BYTES of a primary show; in no particular order. */
export function foreignContents(head: Uint8Array): ForeignContent[] {
  const view = viewOf(head);
  const found = SIGNATURES
    .filter(({ offset, magic }) => startsAt(head, offset, magic))
    .map(({ type, offset, end }) => ({ type, endBytes: sensible(end(view, offset)) }));
  // A boot sector of a file system ends in the same two bytes as a partition table.
  const table = found.length === 0 || found[0].type === "gpt" ? mbr(head, view) : null;
  return table === null ? found : [...found, table];
}

function sensible(endBytes: number): number | null {
  return Number.isSafeInteger(endBytes) && endBytes > 0 ? endBytes : null;
}

function startsAt(head: Uint8Array, offset: number, magic: string | readonly number[]): boolean {
  const bytes = typeof magic === "string" ? new TextEncoder().encode(magic) : magic;
  return offset + bytes.length <= head.length &&
    bytes.every((byte: number, i: number) => head[offset + i] === byte);
}
