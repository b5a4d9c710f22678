// Reading a region map as it lies on a primary, page by page, in pieces: a map may have 16 MiB.
//
// Callers: loading the dirty map, inspect.

import { ReplicaError } from "../base/errors.ts";
import { mapOffsetBytes, type PrimaryLayout, regionPageOffset } from "../format/primary_layout.ts";
import {
  chooseRegionPage,
  REGION_MAP_COPIES,
  type RegionMapName,
  type RegionPageVerdict,
  regionsOfPage,
} from "../format/region_map.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import type { Disk } from "./disk.ts";

const CHUNK_PAGES = 256;

export interface MapPage {
  readonly page: number;
  /** Regions of the device that it tells about; 0 beyond the device's end. */
  readonly regionCount: number;
  readonly verdict: RegionPageVerdict;
  /** The disk refused to give one of the copies: what it holds is unknown, not just torn. */
  readonly unreadable: boolean;
}

/** Judges `pageCount` pages of a map, from the first on. */
export async function* readRegionMap(
  disk: Disk,
  layout: PrimaryLayout,
  { uuid, map, pageCount }: { uuid: string; map: RegionMapName; pageCount: number },
): AsyncGenerator<MapPage> {
  const start = mapOffsetBytes(layout, map);
  if (start === null) return;
  for (let first = 0; first < pageCount; first += CHUNK_PAGES) {
    const count = Math.min(CHUNK_PAGES, pageCount - first);
    const copies = await Promise.all(Array.from({ length: REGION_MAP_COPIES }, (_, copy) => {
      const offset = regionPageOffset(layout, start, { page: first, copy });
      return readPages(disk, offset, count);
    }));
    for (let i = 0; i < count; i++) {
      const page = first + i;
      // The maps are sized for the whole primary: pages beyond a smaller device stay unused.
      const regionCount = Math.max(0, regionsOfPage(layout.regionCount, page));
      const found = copies.map((copy) => copy[i]);
      const verdict = chooseRegionPage(found, { uuid, map, page, regionCount });
      yield { page, regionCount, verdict, unreadable: found.includes(null) };
    }
  }
}

/** Pages in a row; where they can't be read together, each on its own; null: the disk refuses. */
export async function readPages(
  disk: Disk,
  offsetBytes: number,
  count: number,
): Promise<(Uint8Array | null)[]> {
  const starts = Array.from({ length: count }, (_, i) => i * PAGE_BYTES);
  try {
    const bytes = await disk.read(offsetBytes, count * PAGE_BYTES);
    return starts.map((start) => bytes.subarray(start, start + PAGE_BYTES));
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    if (count === 1) return [null];
    const each = starts.map((start) => readPages(disk, offsetBytes + start, 1));
    return (await Promise.all(each)).flat();
  }
}
