import fc from "fast-check";
import { assertEquals, assertThrows } from "../../support/assert.ts";
import {
  chooseRegionPage,
  decodeRegionPage,
  emptyRegionPage,
  encodeRegionPage,
  REGION_MAP_KIND,
  RegionMapPage,
  regionMapPages,
  type RegionPage,
  REGIONS_PER_PAGE,
  regionsOfPage,
  setRegion,
  testRegion,
} from "../../../src/format/region_map.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { PAGE_BYTES, sealPage } from "../../../src/format/sealed_page.ts";

const NAME = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  map: "dirty",
  page: 3,
  regionCount: 1000,
} as const;

const ANY_TAG = fc.record({
  baseCno: fc.nat(1000),
  segmentId: fc.integer({ min: 1001, max: 2 ** 30 - 1 }),
  isWhole: fc.boolean(),
}, { noNullPrototype: true });

function page(sequence: number, set: readonly number[], name: Partial<RegionPage> = {}) {
  const value = { ...emptyRegionPage(NAME), ...name, sequence };
  for (const region of set) setRegion(value.bits, region, true);
  return value;
}

Deno.test("a map of 64 TiB in regions of 8 MiB takes 261 pages, the last one short", () => {
  const regions = 2 ** 46 / 2 ** 23;
  assertEquals(regionMapPages(regions), 261);
  assertEquals(regionsOfPage(regions, 259), REGIONS_PER_PAGE);
  assertEquals(regionsOfPage(regions, 260), regions - 260 * REGIONS_PER_PAGE);
  assertEquals([0, 1, REGIONS_PER_PAGE, REGIONS_PER_PAGE + 1].map(regionMapPages), [0, 1, 1, 2]);
});

Deno.test("encodeRegionPage() round-trips any set of regions", () => {
  const any = fc.record({
    regionCount: fc.integer({ min: 1, max: REGIONS_PER_PAGE }),
    picks: fc.array(fc.nat(), { maxLength: 200 }),
    sequence: fc.maxSafeNat(),
    name: fc.oneof(
      fc.record({ map: fc.constantFrom("dirty" as const, "missing" as const) }),
      fc.record({ map: fc.constant("staged" as const), staged: fc.option(ANY_TAG) }),
    ),
  });
  fc.assert(fc.property(any, ({ regionCount, picks, sequence, name }) => {
    const set = new Set(picks.map((pick) => pick % regionCount));
    const value = page(sequence, [...set], { regionCount, ...name });
    const verdict = decodeRegionPage(encodeRegionPage(value));
    assertEquals(verdict, { kind: "valid", value });
    for (const region of picks) {
      const near = region % regionCount;
      assertEquals(testRegion(value.bits, near), set.has(near));
    }
  }));
});

Deno.test("decodeRegionPage() believes no page that speaks of impossible segments", () => {
  const { stagedBase, stagedSegment, stagedWhole } = RegionMapPage.offset;
  const rows = [
    ["dirty", stagedSegment, 1],
    ["missing", stagedWhole, 1],
    ["staged", stagedBase, 1],
    ["staged", stagedWhole, 2],
  ] as const;
  for (const [map, offset, value] of rows) {
    const bytes = encodeRegionPage(page(1, [], { map }));
    viewOf(bytes).setUint32(offset, value, true);
    sealPage(bytes, REGION_MAP_KIND, 1);
    assertEquals(decodeRegionPage(bytes).kind, "damaged", `${map} ${offset}`);
  }
});

Deno.test("encodeRegionPage() refuses bits beyond the last region", () => {
  for (const stray of [1000, 1001, 1007, 1008, REGIONS_PER_PAGE - 1]) {
    assertThrows(() => encodeRegionPage(page(1, [stray])), Error, "beyond", `${stray}`);
  }
});

Deno.test("setRegion() clears as it sets", () => {
  const value = page(1, [5, 6]);
  setRegion(value.bits, 5, false);
  assertEquals([4, 5, 6, 7].map((n) => testRegion(value.bits, n)), [false, false, true, false]);
});

Deno.test("chooseRegionPage() decides every pair of copies as pictured", () => {
  const other = "11111111-2222-4333-8444-555555555555";
  const copies: Record<string, Uint8Array> = {
    zero: new Uint8Array(PAGE_BYTES),
    s1: encodeRegionPage(page(1, [1])),
    s2: encodeRegionPage(page(2, [2])),
    torn: encodeRegionPage(page(3, [3])).fill(0, 2048, 4096).fill(1, 2048, 2049),
    alien: encodeRegionPage(page(9, [9], { uuid: other })),
    stray: encodeRegionPage(page(9, [9], { page: 4 })),
    othermap: encodeRegionPage(page(9, [9], { map: "missing" })),
  };
  const rows = [
    "s1 s2 -> s2 copy 1",
    "s2 s1 -> s2 copy 0",
    "s1 zero -> s1 copy 0",
    "s1 torn -> s1 copy 0",
    "torn s2 -> s2 copy 1",
    "s1 alien -> s1 copy 0",
    "stray s2 -> s2 copy 1",
    "othermap s2 -> s2 copy 1",
    "zero zero -> absent",
    "alien zero -> absent",
    "torn zero -> damaged",
    "torn torn -> damaged",
  ];
  for (const row of rows) {
    const [first, second, , ...rest] = row.split(" ");
    const verdict = chooseRegionPage([copies[first], copies[second]], NAME);
    const name = verdict.kind === "valid"
      ? `s${verdict.page.sequence} copy ${verdict.winner}`
      : verdict.kind;
    assertEquals(name, rest.join(" "), row);
  }
});
