// Where everything lies on a primary: the only place that computes an offset of it.
//
//   0              deviceSizeBytes   metadataOffset                              end of last whole page
//   | device data  | unused          | staged map | dirty map | missing map | flush log | superblocks |
//
// Invariants (tests/unit/format/primary_layout_test.ts proves them for sizes up to 64 TiB):
// - The areas do not overlap, lie inside the primary, and start at a multiple of a page.
// - The superblock copies are found from the primary's size alone.
// - The maps are sized for the whole primary, so that offsets depend on the primary's and the
//   region's size and on nothing else; the device may be any size that ends before metadataOffset.
//
// Pure. Callers: format, metadata, inspect, configuration checks.

import { type ReplicaError, usageError } from "../base/errors.ts";
import { alignDown, formatSize, isPowerOfTwo, SECTOR, TiB } from "../base/units.ts";
import { FLUSH_LOG_BYTES } from "./flush_log.ts";
import { REGION_MAP_COPIES, type RegionMapName, regionMapPages } from "./region_map.ts";
import { PAGE_BYTES } from "./sealed_page.ts";
import { SUPERBLOCK_COPIES } from "./superblock.ts";

/** Most regions of a device: keeps each map within 16 MiB of memory. 64 TiB allow 512 KiB regions. */
export const REGIONS_MAX = 2 ** 27;
/** The largest device: the stale map's counts and regions' numbers are sized for it. */
export const DEVICE_BYTES_MAX = 64 * TiB;
/** Largest logical block that the 4 KiB pages of the metadata can be written with. */
export const LOGICAL_BLOCK_BYTES_MAX = PAGE_BYTES;

export interface LayoutOptions {
  readonly primarySizeBytes: number;
  /** Any number of sectors: regions and data blocks need not be multiples of each other. */
  readonly regionBytes: number;
  /** Data block of the replica: the device size is a multiple of it. */
  readonly dataBlockBytes: number;
  /** Omitted: as much as the primary has room for. */
  readonly deviceSizeBytes?: number;
  /** False: it was formatted before there was one. */
  readonly hasStagedMap?: boolean;
}

export interface Area {
  readonly name: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface PrimaryLayout {
  readonly primarySizeBytes: number;
  readonly deviceSizeBytes: number;
  readonly regionBytes: number;
  readonly dataBlockBytes: number;
  /** Regions of the device; the last one may be short. */
  readonly regionCount: number;
  /** Start of the metadata: no byte of the device may lie at or after it. */
  readonly metadataOffsetBytes: number;
  /** Pages of one copy of one map. */
  readonly mapPages: number;
  /** Null: the primary has none. */
  readonly stagedMapOffsetBytes: number | null;
  readonly dirtyMapOffsetBytes: number;
  readonly missingMapOffsetBytes: number;
  readonly flushLogOffsetBytes: number;
  /** Offsets of the copies, in order. */
  readonly superblockOffsetsBytes: readonly [number, number];
  /** Every area in the order of its offset, for documentation, inspect and tests. */
  readonly areas: readonly Area[];
}

/** Offsets of the superblock copies of a primary of this size; null when it has no room for them. */
export function superblockOffsets(primarySizeBytes: number): [number, number] | null {
  const first = alignDown(primarySizeBytes, PAGE_BYTES) - SUPERBLOCK_COPIES * PAGE_BYTES;
  return first < 0 ? null : [first, first + PAGE_BYTES];
}

/** Place of copy `copy` of page `page` of a map that starts at `mapOffsetBytes`. */
export function regionPageOffset(
  layout: PrimaryLayout,
  mapOffsetBytes: number,
  { page, copy }: { page: number; copy: number },
): number {
  return mapOffsetBytes + (copy * layout.mapPages + page) * PAGE_BYTES;
}

/** Where a map lies: two copies of `copyBytes`, one after the other. */
export interface MapPlace {
  readonly offsetBytes: number;
  readonly copyBytes: number;
}

/** The place of the dirty map, for those who write its pages. */
export function dirtyMapPlace(layout: PrimaryLayout): MapPlace {
  return {
    offsetBytes: layout.dirtyMapOffsetBytes,
    copyBytes: layout.mapPages * PAGE_BYTES,
  };
}

/** Where a map begins; null: this primary has no such map. */
export function mapOffsetBytes(layout: PrimaryLayout, map: RegionMapName): number | null {
  switch (map) {
    case "staged":
      return layout.stagedMapOffsetBytes;
    case "dirty":
      return layout.dirtyMapOffsetBytes;
    case "missing":
      return layout.missingMapOffsetBytes;
  }
}

/** Start and length of a region on the device; the last region may be short. */
export function regionRange(layout: PrimaryLayout, region: number): [number, number] {
  const start = region * layout.regionBytes;
  return [start, Math.min(layout.regionBytes, layout.deviceSizeBytes - start)];
}

/** The layout of a primary; a usage error says which option can't be met. */
export function primaryLayout(options: LayoutOptions): PrimaryLayout {
  const { primarySizeBytes, regionBytes, dataBlockBytes, hasStagedMap = true } = options;
  checkBlocks(options);
  const regionsOfPrimary = Math.ceil(primarySizeBytes / regionBytes);
  if (regionsOfPrimary > REGIONS_MAX) throw tooManyRegions(options);
  const mapPages = regionMapPages(regionsOfPrimary);
  const mapBytes = REGION_MAP_COPIES * mapPages * PAGE_BYTES;
  const superblocks = superblockOffsets(primarySizeBytes);
  const flushLogOffsetBytes = (superblocks?.[0] ?? 0) - FLUSH_LOG_BYTES;
  const missingMapOffsetBytes = flushLogOffsetBytes - mapBytes;
  const dirtyMapOffsetBytes = missingMapOffsetBytes - mapBytes;
  // The first of all, so that the others lie where they did before there was one.
  const stagedMapOffsetBytes = hasStagedMap ? dirtyMapOffsetBytes - mapBytes : null;
  const metadataOffsetBytes = stagedMapOffsetBytes ?? dirtyMapOffsetBytes;
  const room = alignDown(Math.max(0, metadataOffsetBytes), dataBlockBytes);
  if (superblocks === null || room === 0) throw tooSmall(options);
  const deviceSizeBytes = options.deviceSizeBytes ?? room;
  checkDeviceSize(deviceSizeBytes, dataBlockBytes, room);
  if (deviceSizeBytes > DEVICE_BYTES_MAX) throw tooLarge(deviceSizeBytes);
  return {
    primarySizeBytes,
    deviceSizeBytes,
    regionBytes,
    dataBlockBytes,
    regionCount: Math.ceil(deviceSizeBytes / regionBytes),
    metadataOffsetBytes,
    mapPages,
    stagedMapOffsetBytes,
    dirtyMapOffsetBytes,
    missingMapOffsetBytes,
    flushLogOffsetBytes,
    superblockOffsetsBytes: superblocks,
    areas: [
      { name: "device data", offsetBytes: 0, lengthBytes: deviceSizeBytes },
      ...(stagedMapOffsetBytes === null ? [] : [
        { name: "staged map", offsetBytes: stagedMapOffsetBytes, lengthBytes: mapBytes },
      ]),
      { name: "dirty map", offsetBytes: dirtyMapOffsetBytes, lengthBytes: mapBytes },
      { name: "missing map", offsetBytes: missingMapOffsetBytes, lengthBytes: mapBytes },
      { name: "flush log", offsetBytes: flushLogOffsetBytes, lengthBytes: FLUSH_LOG_BYTES },
      { name: "superblock 0", offsetBytes: superblocks[0], lengthBytes: PAGE_BYTES },
      { name: "superblock 1", offsetBytes: superblocks[1], lengthBytes: PAGE_BYTES },
    ],
  };
}

function tooLarge(deviceSizeBytes: number): ReplicaError {
  const most = formatSize(DEVICE_BYTES_MAX);
  return usageError(`Cannot use a device of ${formatSize(deviceSizeBytes)}: at most ${most}`, {
    hint: `With --device-size ${most} the rest of the primary stays unused.`,
  });
}

function checkBlocks({ regionBytes, dataBlockBytes }: LayoutOptions): void {
  if (!isPowerOfTwo(dataBlockBytes) || dataBlockBytes < PAGE_BYTES) {
    throw usageError(`Cannot use --data-block-size ${dataBlockBytes}: not a power of two of 4KiB`);
  }
  checkRegionBytes(regionBytes, SECTOR);
}

/** Refuses regions that a device with these logical blocks can't have. */
export function checkRegionBytes(regionBytes: number, logicalBlockBytes: number): void {
  if (regionBytes > 0 && regionBytes % logicalBlockBytes === 0) return;
  throw usageError(
    `Cannot use --region-size ${regionBytes}: it must be a multiple of ` +
      `the logical block, ${logicalBlockBytes} bytes`,
    { hint: "The default, 8MiB, fits every device." },
  );
}

function checkDeviceSize(sizeBytes: number, dataBlockBytes: number, room: number): void {
  if (sizeBytes <= 0 || sizeBytes % dataBlockBytes !== 0) {
    throw usageError(
      `Cannot use --device-size ${sizeBytes}: not a positive multiple of the data block`,
      { hint: `Use a multiple of ${formatSize(dataBlockBytes)}, or omit the option.` },
    );
  }
  if (sizeBytes > room) {
    throw usageError(
      `Cannot use --device-size ${sizeBytes}: the primary has room for ${room} bytes`,
      {
        hint: "The end of the primary holds metadata. Omit --device-size to use all that is left.",
        context: { deviceSizeBytes: sizeBytes, roomBytes: room },
      },
    );
  }
}

function tooManyRegions({ primarySizeBytes, regionBytes }: LayoutOptions): ReplicaError {
  const least = Math.ceil(primarySizeBytes / REGIONS_MAX);
  return usageError(
    `Cannot use --region-size ${formatSize(regionBytes)}: the primary would have more than ` +
      `${REGIONS_MAX} regions`,
    { hint: `Use at least ${formatSize(2 ** Math.ceil(Math.log2(least)))}.` },
  );
}

function tooSmall({ primarySizeBytes }: LayoutOptions): ReplicaError {
  return usageError(
    `Cannot use a primary of ${formatSize(primarySizeBytes)}: no room for the metadata and a block`,
    { hint: "Use a primary of at least 1MiB." },
  );
}
