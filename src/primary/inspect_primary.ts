// A primary's metadata as it lies on the disk, for people who look for what went wrong. Read-only,
// and each page on its own: what is damaged or unreadable is reported and the rest is decoded.
//
// Callers: the inspect command.

import { ReplicaError } from "../base/errors.ts";
import { viewOf } from "../base/struct.ts";
import {
  decodeFlushLog,
  FLUSH_LOG_BYTES,
  FLUSH_LOG_SLOTS,
  type FlushRecord,
} from "../format/flush_log.ts";
import {
  type Area,
  mapOffsetBytes,
  type PrimaryLayout,
  primaryLayout,
  superblockOffsets,
} from "../format/primary_layout.ts";
import {
  type RegionMapName,
  REGIONS_PER_PAGE,
  type StagedTag,
  testRegion,
} from "../format/region_map.ts";
import { PAGE_BYTES, type PageVerdict } from "../format/sealed_page.ts";
import {
  chooseSuperblock,
  decodeSuperblock,
  type Superblock,
  SuperblockRecord,
} from "../format/superblock.ts";
import type { Disk } from "./disk.ts";
import { readPages, readRegionMap } from "./region_map_pages.ts";

/** Ranges of regions that a report lists. */
const RANGES_MAX = 1000;

/** A page and what became of it. `value`: its contents where it is whole. */
export interface PageReport<T> {
  readonly offsetBytes: number;
  readonly state: "absent" | "damaged" | "unsupported" | "unreadable" | "valid";
  readonly reason?: string;
  readonly value?: T;
}

export interface SuperblockReport extends PageReport<Superblock> {
  /** Integers of a damaged copy, as they stand there: not to be believed. */
  readonly suspect?: Readonly<Record<string, number>>;
}

export interface MapReport {
  readonly name: RegionMapName;
  readonly pages: number;
  readonly validPages: number;
  readonly absentPages: number;
  /** Pages of which no copy is whole, with the reason. */
  readonly damagedPages: readonly { readonly page: number; readonly reason: string }[];
  /** Regions whose bit is set, of the pages that are valid. */
  readonly setRegions: number;
  /** Which these are: the first ranges, up to a limit. */
  readonly setRanges: readonly { readonly firstRegion: number; readonly lastRegion: number }[];
  readonly moreRanges: boolean;
  readonly regionCount: number;
  /** Staged map: the segments that its pages speak of, each once. */
  readonly staged: readonly StagedTag[];
}

export interface PrimaryReport {
  readonly path: string;
  readonly sizeBytes: number;
  /** What loading it would say: "valid", "absent", "damaged", "conflict", "unsupported". */
  readonly verdict: string;
  readonly reason?: string;
  /** The superblock in force. */
  readonly superblock?: Superblock;
  readonly redundant: boolean;
  readonly superblocks: readonly SuperblockReport[];
  /** Empty when no superblock tells the layout. */
  readonly areas: readonly Area[];
  readonly flushLog: readonly PageReport<FlushRecord>[];
  readonly lastCno: number | null;
  readonly maps: readonly MapReport[];
}

export async function inspectPrimary(disk: Disk): Promise<PrimaryReport> {
  const offsets = superblockOffsets(disk.sizeBytes) ?? [];
  const pages = await Promise.all(offsets.map((offset) => readPage(disk, offset)));
  const chosen = chooseSuperblock(pages);
  const superblocks = pages.map((page, i) => superblockReport(page, offsets[i]));
  const inForce = chosen.kind === "valid" ? chosen.superblock : undefined;
  // Where copies contradict each other, the layout of either is better than none.
  const guide = inForce ?? superblocks.find(({ value }) => value !== undefined)?.value;
  const layout = guide === undefined ? null : layoutFrom(guide, disk.sizeBytes);
  const flushLog = offsets.length === 0 ? [] : await inspectFlushLog(disk, offsets[0]);
  return {
    path: disk.name,
    sizeBytes: disk.sizeBytes,
    verdict: chosen.kind,
    reason: "reason" in chosen ? chosen.reason : mismatch(guide, layout, disk.sizeBytes),
    superblock: inForce,
    redundant: chosen.kind === "valid" && chosen.redundant,
    superblocks,
    areas: layout?.areas ?? [],
    flushLog,
    lastCno: lastCnoOf(flushLog, guide?.uuid),
    maps: guide === undefined || layout === null ? [] : await inspectMaps(disk, layout, guide.uuid),
  };
}

async function inspectMaps(disk: Disk, layout: PrimaryLayout, uuid: string): Promise<MapReport[]> {
  const names = (["dirty", "missing", "staged"] as const)
    .filter((name) => mapOffsetBytes(layout, name) !== null);
  return await Promise.all(names.map((name) => inspectMap(disk, { layout, uuid, name })));
}

function superblockReport(page: Uint8Array | null, offsetBytes: number): SuperblockReport {
  if (page === null) return { offsetBytes, state: "unreadable" };
  const report = pageReport(decodeSuperblock(page), offsetBytes);
  return report.state === "damaged" ? { ...report, suspect: suspectValues(page) } : report;
}

/** The integer fields, without believing anything. */
function suspectValues(page: Uint8Array): Record<string, number> {
  const view = viewOf(page);
  const values: Record<string, number> = {};
  for (const { field, type, offset } of SuperblockRecord.rows) {
    if (type === "u32") values[field] = view.getUint32(offset, true);
    if (type === "u64") values[field] = Number(view.getBigUint64(offset, true));
  }
  return values;
}

function pageReport<T>(verdict: PageVerdict<T>, offsetBytes: number): PageReport<T> {
  switch (verdict.kind) {
    case "valid":
      return { offsetBytes, state: "valid", value: verdict.value };
    case "unsupported":
      return { offsetBytes, state: "unsupported", reason: `version ${verdict.version}` };
    case "damaged":
      return { offsetBytes, state: "damaged", reason: verdict.reason };
    case "absent":
      return { offsetBytes, state: "absent" };
  }
}

function layoutFrom(superblock: Superblock, sizeBytes: number): PrimaryLayout | null {
  try {
    return superblock.primarySizeBytes === sizeBytes ? primaryLayout(superblock) : null;
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    return null;
  }
}

function mismatch(
  superblock: Superblock | undefined,
  layout: PrimaryLayout | null,
  sizeBytes: number,
): string | undefined {
  if (superblock === undefined || layout !== null) return undefined;
  return superblock.primarySizeBytes === sizeBytes
    ? "its geometry is impossible"
    : `it was formatted with ${superblock.primarySizeBytes} bytes`;
}

/** The flush log lies before the superblocks, so that it is found without a layout. */
async function inspectFlushLog(
  disk: Disk,
  superblockOffsetBytes: number,
): Promise<PageReport<FlushRecord>[]> {
  const start = superblockOffsetBytes - FLUSH_LOG_BYTES;
  if (start < 0) return [];
  const offsets = Array.from({ length: FLUSH_LOG_SLOTS }, (_, slot) => start + slot * PAGE_BYTES);
  const pages = await Promise.all(offsets.map((offset) => readPage(disk, offset)));
  return decodeFlushLog(pages).map((verdict, slot) =>
    pages[slot] === null
      ? { offsetBytes: offsets[slot], state: "unreadable" }
      : pageReport(verdict, offsets[slot])
  );
}

function lastCnoOf(slots: readonly PageReport<FlushRecord>[], uuid?: string): number | null {
  const records = slots.flatMap(({ value }) =>
    value !== undefined && value.uuid === uuid ? [value] : []
  );
  if (records.length === 0) return null;
  return records.reduce((a, b) => b.sequence > a.sequence ? b : a).cno;
}

async function inspectMap(
  disk: Disk,
  { layout, uuid, name }: { layout: PrimaryLayout; uuid: string; name: RegionMapName },
): Promise<MapReport> {
  const counts = { validPages: 0, absentPages: 0, setRegions: 0 };
  const damagedPages: { page: number; reason: string }[] = [];
  const ranges = new RangeList();
  const staged = new Map<string, StagedTag>();
  const map = readRegionMap(disk, layout, { uuid, map: name, pageCount: layout.mapPages });
  for await (const { page, regionCount, verdict } of map) {
    if (verdict.kind === "valid") {
      counts.validPages++;
      const { bits, staged: tag } = verdict.page;
      if (tag !== null) staged.set(Object.values(tag).join(), tag);
      for (let region = 0; region < regionCount; region++) {
        if (testRegion(bits, region)) ranges.add(page * REGIONS_PER_PAGE + region);
      }
    } else if (verdict.kind === "absent") counts.absentPages++;
    else damagedPages.push({ page, reason: verdict.reason });
  }
  counts.setRegions = ranges.count;
  return {
    name,
    pages: layout.mapPages,
    ...counts,
    damagedPages,
    setRanges: ranges.ranges,
    moreRanges: ranges.more,
    regionCount: layout.regionCount,
    staged: [...staged.values()],
  };
}

/** Gathers ascending regions into ranges: the first RANGES_MAX of them. */
class RangeList {
  readonly ranges: { firstRegion: number; lastRegion: number }[] = [];
  count = 0;
  /** Whether there are more ranges than are listed. */
  more = false;

  add(region: number): void {
    this.count++;
    const last = this.ranges.at(-1);
    if (last !== undefined && !this.more && last.lastRegion + 1 === region) {
      last.lastRegion = region;
    } else if (this.ranges.length < RANGES_MAX) {
      this.ranges.push({ firstRegion: region, lastRegion: region });
    } else this.more = true;
  }
}

/** Null when the disk refuses. */
async function readPage(disk: Disk, offsetBytes: number): Promise<Uint8Array | null> {
  return (await readPages(disk, offsetBytes, 1))[0];
}
