import fc from "fast-check";
import {
  emptyRegionPage,
  encodeRegionPage,
  REGIONS_PER_PAGE,
  setRegion,
} from "../../../src/format/region_map.ts";
import {
  sealStagedPage,
  STAGED_BITS_WORD,
  STAGED_PAGE_WORDS,
  stageRegionPage,
} from "../../../src/format/staged_region_page.ts";
import { assertEquals } from "../../support/assert.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";

Deno.test("a page sealed in place has the bytes of an encoded one", () => {
  const any = fc.record({
    place: fc.nat(2),
    page: fc.nat(5000),
    regionCount: fc.integer({ min: 1, max: REGIONS_PER_PAGE }),
    picks: fc.array(fc.nat(), { maxLength: 200 }),
    sequence: fc.oneof(fc.maxSafeNat(), fc.nat(), fc.constantFrom(2 ** 32 - 1, 2 ** 32)),
  });
  fc.assert(fc.property(any, ({ place, page, regionCount, picks, sequence }) => {
    const empty = emptyRegionPage({ uuid: UUID, map: "dirty", page, regionCount });
    const words = new Int32Array(3 * STAGED_PAGE_WORDS);
    const at = place * STAGED_PAGE_WORDS;
    stageRegionPage(words, at, empty);
    const value = { ...empty, sequence };
    for (const pick of picks) {
      const region = pick % regionCount;
      setRegion(value.bits, region, true);
      words[at + STAGED_BITS_WORD + (region >>> 5)] |= 1 << (region & 31);
    }
    sealStagedPage(words, at, sequence);
    const staged = new Uint8Array(words.buffer, at * 4, STAGED_PAGE_WORDS * 4);
    assertEquals(staged, encodeRegionPage(value));
    // Sealing says nothing of what was there before.
    sealStagedPage(words, at, 7);
    assertEquals(staged, encodeRegionPage({ ...value, sequence: 7 }));
  }));
});
