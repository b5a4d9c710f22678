// The dirty map and the staged map of a primary: made empty by format, read at the start.
//
// What a page says when not all is well, and why:
// - one copy torn, the other whole: the whole one. The torn update never completed, so nothing relied
//   on it; had it been an update that takes dirty marks away, the older copy only says more.
// - no copy whole, or never written: every region of the page is dirty. Format writes the first copy of
//   every page, so that the very first update may be torn without that.
// - a copy that the disk refuses to give: every region is dirty, since that copy may be the newer one.
//
// The same holds for the staged map: a mark that is lost there was taken off the dirty map before, so
// a page in doubt makes all of its regions dirty.
//
// Callers: format, the start of a device.

import { mapOffsetBytes, type PrimaryLayout, regionPageOffset } from "../format/primary_layout.ts";
import {
  emptyRegionPage,
  encodeRegionPage,
  type RegionMapName,
  regionMapPages,
  type RegionPage,
  regionsOfPage,
  setRegion,
} from "../format/region_map.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import type { Disk } from "./disk.ts";
import { readRegionMap } from "./region_map_pages.ts";

/** Pages that are written at once. */
const CHUNK_PAGES = 256;

/** A page of which not all is known. Its bits are all set; what the primary holds may say less. */
export interface DoubtfulPage {
  readonly page: number;
  readonly reason: string;
}

export interface KeptMap {
  /** Every page of the device, in order. */
  readonly pages: readonly RegionPage[];
  /** To be written again before anybody relies on them. */
  readonly doubtful: readonly DoubtfulPage[];
}

/** The maps that are read here. */
export type KeptMapName = Extract<RegionMapName, "dirty" | "staged">;

/** `wallMs`: as for readKeptMap(). */
export function readDirtyMap(
  disk: Disk,
  layout: PrimaryLayout,
  uuid: string,
  wallMs = 0,
): Promise<KeptMap> {
  return readKeptMap(disk, layout, { uuid, map: "dirty", wallMs });
}

/**
 * No pages: the primary has no such map. `wallMs`: the time, for whoever writes pages afterwards: more than the
 * updates that any page can have had, so that a page of which no copy could be read gets the last word.
 */
export async function readKeptMap(
  disk: Disk,
  layout: PrimaryLayout,
  { uuid, map, wallMs = 0 }: { uuid: string; map: KeptMapName; wallMs?: number },
): Promise<KeptMap> {
  const pages: RegionPage[] = [];
  const doubtful: DoubtfulPage[] = [];
  const pageCount = regionMapPages(layout.regionCount);
  const found = readRegionMap(disk, layout, { uuid, map, pageCount });
  for await (const { page, regionCount, verdict, unreadable } of found) {
    if (verdict.kind === "valid" && !unreadable) {
      pages.push(verdict.page);
      continue;
    }
    const reason = verdict.kind === "valid" ? "one copy can't be read" : verdict.reason;
    doubtful.push({ page, reason });
    // The next update goes to the other place, above whatever the doubtful copy may turn out to hold.
    const known = verdict.kind === "valid" ? verdict.page.sequence : unreadable ? wallMs : 0;
    const sequence = 2 + known;
    const whole = { ...emptyRegionPage({ uuid, map, page, regionCount }), sequence };
    for (let region = 0; region < regionCount; region++) setRegion(whole.bits, region, true);
    pages.push(whole);
  }
  return { pages, doubtful };
}

/** Writes the first copy of every page, empty, where both copies are blank. Not yet durable. */
export async function writeEmptyMap(
  disk: Disk,
  layout: PrimaryLayout,
  { uuid, map }: { uuid: string; map: KeptMapName },
): Promise<void> {
  const start = mapOffsetBytes(layout, map);
  if (start === null) return;
  const pageCount = regionMapPages(layout.regionCount);
  for (let first = 0; first < pageCount; first += CHUNK_PAGES) {
    const count = Math.min(CHUNK_PAGES, pageCount - first);
    const bytes = new Uint8Array(count * PAGE_BYTES);
    for (let i = 0; i < count; i++) {
      const page = first + i;
      const regionCount = regionsOfPage(layout.regionCount, page);
      const empty = emptyRegionPage({ uuid, map, page, regionCount });
      bytes.set(encodeRegionPage(empty), i * PAGE_BYTES);
    }
    const offset = regionPageOffset(layout, start, { page: first, copy: 0 });
    await disk.write(offset, bytes);
  }
}
