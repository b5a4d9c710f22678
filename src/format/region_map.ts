// Region maps: one bit per region of the device, in pages that are replaced one at a time.
// There are three maps: `dirty` (the replica may lack the region's newest bytes), `missing` (a restore
// has not brought the region's bytes yet) and `staged` (a resync that is under way has put them into
// segments that are not published yet). docs/primary-format.md shows the bytes.
//
// Invariants:
// - A page has two places. Update n of a page goes to place n mod 2, so a torn or lost update leaves
//   update n - 1 readable; the valid copy with the highest sequence wins.
// - Bits at and beyond the number of regions are 0.
// - A page names its map, its number and its device: a misdirected write is not believed.
// - A page of the staged map names the segments that it speaks of, so it can't be taken for one that
//   speaks of others.
//
// Pure. Layout and codec only: the write-intent protocol on top (R4, R5) is not here.

import { dataError } from "../base/errors.ts";
import { bytes, struct, u32, type ValuesOf } from "../base/struct.ts";
import { uuidFromBytes, uuidToBytes } from "../base/uuid.ts";
import { invariant } from "../base/assert.ts";
import {
  PAGE_BYTES,
  PAGE_HEAD,
  type PageKind,
  type PageVerdict,
  readPage,
  sealPage,
} from "./sealed_page.ts";

export const REGION_MAP_COPIES = 2;
export const REGION_MAP_KIND: PageKind = { magic: "IOREPLRM", version: 1 };

/** Bytes of bits in a page. */
export const REGION_BITS_BYTES = PAGE_BYTES - 64;
/** Regions that one page tells about. */
export const REGIONS_PER_PAGE = REGION_BITS_BYTES * 8;

export const RegionMapPage = struct("RegionMapPage", PAGE_BYTES, {
  ...PAGE_HEAD,
  uuid: bytes(16),
  /** A number of REGION_MAPS. */
  map: u32,
  /** Number of the page in its map. */
  page: u32,
  /** Regions that this page tells about: less than REGIONS_PER_PAGE in the last one. */
  regionCount: u32,
  /** Staged map: the checkpoint that the staged segments follow. */
  stagedBase: u32,
  /** Staged map: the last staged segment when the page was written; 0: none, no bit counts. */
  stagedSegment: u32,
  /** Staged map: 1 when a copy of the whole device put these regions there; else 0. */
  stagedWhole: u32,
  /** Region r of the page is bit r mod 8 of byte r / 8. */
  bits: bytes(REGION_BITS_BYTES),
});

export const REGION_MAPS = { dirty: 1, missing: 2, staged: 3 } as const;
export type RegionMapName = keyof typeof REGION_MAPS;

/** Which staged segments a page of the staged map speaks of. */
export interface StagedTag {
  /** The checkpoint that they follow. */
  readonly baseCno: number;
  /** The last of them that holds something of the page's regions. */
  readonly segmentId: number;
  /** A copy of the whole device made them: regions without a bit are still to be copied. */
  readonly isWhole: boolean;
}

export interface RegionPage {
  readonly sequence: number;
  readonly uuid: string;
  readonly map: RegionMapName;
  readonly page: number;
  readonly regionCount: number;
  /** Null in other maps than `staged`, and where no bit of it counts. */
  readonly staged: StagedTag | null;
  /** REGION_BITS_BYTES bytes. */
  readonly bits: Uint8Array;
}

/** Pages that a map of this many regions needs. */
export function regionMapPages(regionCount: number): number {
  return Math.ceil(regionCount / REGIONS_PER_PAGE);
}

/** Regions that page `page` of a map of `regionCount` regions tells about. */
export function regionsOfPage(regionCount: number, page: number): number {
  return Math.min(REGIONS_PER_PAGE, regionCount - page * REGIONS_PER_PAGE);
}

export function testRegion(bits: Uint8Array, region: number): boolean {
  return (bits[region >>> 3] >>> (region & 7) & 1) === 1;
}

export function setRegion(bits: Uint8Array, region: number, on: boolean): void {
  const mask = 1 << (region & 7);
  if (on) bits[region >>> 3] |= mask;
  else bits[region >>> 3] &= ~mask;
}

/** The bits of a page, whole and on their own, as words: region r is bit r mod 32 of word r / 32. */
export function regionWords(bits: Uint8Array): Int32Array {
  return new Int32Array(bits.buffer, bits.byteOffset, REGION_BITS_BYTES / 4);
}

/** A page with no bit set. */
export function emptyRegionPage(
  values: Omit<RegionPage, "sequence" | "bits" | "staged">,
): RegionPage {
  return { ...values, staged: null, sequence: 0, bits: new Uint8Array(REGION_BITS_BYTES) };
}

export function encodeRegionPage(value: RegionPage): Uint8Array<ArrayBuffer> {
  const { staged } = value;
  invariant(firstStrayBit(value.bits, value.regionCount) < 0, "bits beyond the last region are 0");
  invariant(staged === null || value.map === "staged", "other maps speak of no segments");
  const page = RegionMapPage.toBytes({
    ...value,
    magic: new Uint8Array(8),
    checksum: 0,
    version: 0,
    uuid: uuidToBytes(value.uuid),
    map: REGION_MAPS[value.map],
    stagedBase: staged?.baseCno ?? 0,
    stagedSegment: staged?.segmentId ?? 0,
    stagedWhole: staged?.isWhole ? 1 : 0,
  });
  sealPage(page, REGION_MAP_KIND, value.sequence);
  return page;
}

/** Judges one copy of a page; never throws on what the bytes are. */
export function decodeRegionPage(bytes: Uint8Array): PageVerdict<RegionPage> {
  return readPage(bytes, REGION_MAP_KIND, RegionMapPage, checked);
}

function checked(values: ValuesOf<typeof RegionMapPage>): RegionPage {
  const map = Object.entries(REGION_MAPS).find(([, code]) => code === values.map)?.[0];
  if (map === undefined) throw dataError(`Cannot read RegionMapPage.map: ${values.map} is none`);
  if (values.regionCount > REGIONS_PER_PAGE) {
    throw dataError(`Cannot read RegionMapPage.regionCount: ${values.regionCount} is too many`);
  }
  const stray = firstStrayBit(values.bits, values.regionCount);
  if (stray >= 0) {
    throw dataError(`Cannot read RegionMapPage.bits: bit ${stray} is beyond the last region`);
  }
  const { sequence, page, regionCount, bits } = values;
  const uuid = uuidFromBytes(values.uuid);
  const staged = checkedTag(map as RegionMapName, values);
  return { sequence, uuid, map: map as RegionMapName, page, regionCount, staged, bits };
}

function checkedTag(
  map: RegionMapName,
  values: ValuesOf<typeof RegionMapPage>,
): StagedTag | null {
  const { stagedBase: baseCno, stagedSegment: segmentId, stagedWhole } = values;
  if (baseCno === 0 && segmentId === 0 && stagedWhole === 0) return null;
  if (map !== "staged" || segmentId <= baseCno || stagedWhole > 1) {
    throw dataError(
      `Cannot read RegionMapPage.stagedSegment: ${segmentId} after ${baseCno} in map ${map}`,
    );
  }
  return { baseCno, segmentId, isWhole: stagedWhole === 1 };
}

function firstStrayBit(bits: Uint8Array, regionCount: number): number {
  for (let region = regionCount; region < REGIONS_PER_PAGE; region++) {
    if ((region & 7) === 0 && bits[region >>> 3] === 0) region += 7;
    else if (testRegion(bits, region)) return region;
  }
  return -1;
}

/** What the two copies of a page say together. */
export type RegionPageVerdict =
  | { readonly kind: "absent" | "damaged"; readonly reason: string }
  | { readonly kind: "valid"; readonly page: RegionPage; readonly winner: number };

/**
 * Chooses among the copies of the page that `expected` names; null stands for one that can't be read
 * from the disk. The highest valid sequence wins. A
 * whole page of another device, map or number counts as absent.
 */
export function chooseRegionPage(
  copies: readonly (Uint8Array | null)[],
  expected: Pick<RegionPage, "uuid" | "map" | "page" | "regionCount">,
): RegionPageVerdict {
  let best: { page: RegionPage; winner: number } | null = null;
  const reasons: string[] = [];
  let damaged = false;
  for (const [winner, bytes] of copies.entries()) {
    const verdict: PageVerdict<RegionPage> = bytes === null
      ? { kind: "damaged", reason: "can't be read" }
      : decodeRegionPage(bytes);
    if (verdict.kind !== "valid") {
      damaged ||= verdict.kind !== "absent";
      reasons.push(`copy ${winner}: ${verdict.kind === "damaged" ? verdict.reason : verdict.kind}`);
      continue;
    }
    const page = verdict.value;
    if (!isExpected(page, expected)) {
      reasons.push(`copy ${winner}: ${page.map} page ${page.page} of device ${page.uuid}`);
    } else if (best === null || page.sequence > best.page.sequence) best = { page, winner };
  }
  if (best !== null) return { kind: "valid", ...best };
  return { kind: damaged ? "damaged" : "absent", reason: reasons.join("; ") };
}

function isExpected(
  page: RegionPage,
  expected: Pick<RegionPage, "uuid" | "map" | "page" | "regionCount">,
): boolean {
  return page.uuid === expected.uuid && page.map === expected.map &&
    page.page === expected.page && page.regionCount === expected.regionCount;
}
