import fc from "fast-check";
import { assert, assertEquals, assertThrows } from "../../support/assert.ts";
import { GiB, KiB, MiB, SECTOR, TiB } from "../../../src/base/units.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import {
  primaryLayout,
  regionPageOffset,
  regionRange,
  REGIONS_MAX,
  superblockOffsets,
} from "../../../src/format/primary_layout.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { REGIONS_PER_PAGE } from "../../../src/format/region_map.ts";

const OPTIONS = { regionBytes: 8 * MiB, dataBlockBytes: 4 * KiB };

/** Any primary of 1 MiB to 64 TiB, also of odd sizes, any data block and any region it allows. */
const ANY_LAYOUT = fc.record({
  sizeLog2: fc.double({ min: 20, max: 46, noNaN: true }),
  dataBlockLog2: fc.integer({ min: 12, max: 16 }),
  regionSectors: fc.oneof(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 1, max: 1 << 27 }),
  ),
  deviceShare: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
}).map(({ sizeLog2, dataBlockLog2, regionSectors, deviceShare }) => {
  const dataBlockBytes = 2 ** dataBlockLog2;
  return {
    primarySizeBytes: Math.floor(2 ** sizeLog2),
    dataBlockBytes,
    regionBytes: regionSectors * SECTOR,
    deviceShare,
  };
});

Deno.test("primaryLayout() keeps areas disjoint, aligned and inside, for any size", () => {
  fc.assert(
    fc.property(ANY_LAYOUT, ({ deviceShare, ...options }) => {
      const regions = Math.ceil(options.primarySizeBytes / options.regionBytes);
      if (regions > REGIONS_MAX) {
        assertThrows(() => primaryLayout(options), ReplicaError, "--region-size");
        return;
      }
      let layout = primaryLayout(options);
      if (deviceShare !== null) {
        const blocks = layout.deviceSizeBytes / options.dataBlockBytes;
        const deviceSizeBytes = Math.max(1, Math.floor(blocks * deviceShare)) *
          options.dataBlockBytes;
        const smaller = primaryLayout({ ...options, deviceSizeBytes });
        assertEquals(smaller.metadataOffsetBytes, layout.metadataOffsetBytes);
        layout = smaller;
      }
      let end = 0;
      for (const { name, offsetBytes, lengthBytes } of layout.areas) {
        assert(offsetBytes >= end, `${name} starts after the area before it`);
        assertEquals(offsetBytes % PAGE_BYTES, 0, name);
        end = offsetBytes + lengthBytes;
      }
      assert(end <= options.primarySizeBytes && end > options.primarySizeBytes - PAGE_BYTES);
      assertEquals(layout.deviceSizeBytes % options.dataBlockBytes, 0);
      assert(layout.mapPages * REGIONS_PER_PAGE >= layout.regionCount);
      assertEquals(layout.superblockOffsetsBytes, superblockOffsets(options.primarySizeBytes)!);
      const [start, length] = regionRange(layout, layout.regionCount - 1);
      assert(length > 0, "no region lies behind the device");
      assertEquals(start + length, layout.deviceSizeBytes);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("primaryLayout() leaves less than a data block unused when no device size is given", () => {
  const layout = primaryLayout({
    ...OPTIONS,
    primarySizeBytes: 10 * GiB,
    dataBlockBytes: 64 * KiB,
  });
  assert(layout.metadataOffsetBytes - layout.deviceSizeBytes < 64 * KiB);
});

Deno.test("primaryLayout() gives the offsets that docs/primary-format.md shows for 1 TiB", () => {
  const layout = primaryLayout({ ...OPTIONS, primarySizeBytes: TiB });
  assertEquals(layout.mapPages, 5);
  assertEquals(TiB - layout.superblockOffsetsBytes[0], 8 * KiB);
  assertEquals(TiB - layout.flushLogOffsetBytes, 72 * KiB);
  assertEquals(TiB - layout.missingMapOffsetBytes, 112 * KiB);
  assertEquals(TiB - layout.dirtyMapOffsetBytes, 152 * KiB);
  assertEquals(TiB - (layout.stagedMapOffsetBytes ?? 0), 192 * KiB);
  assertEquals(layout.deviceSizeBytes, TiB - 192 * KiB);
});

Deno.test("primaryLayout() leaves everything where it was on a primary without a staged map", () => {
  const options = { ...OPTIONS, primarySizeBytes: TiB };
  const { areas, deviceSizeBytes } = primaryLayout({ ...options, hasStagedMap: false });
  assertEquals(deviceSizeBytes, TiB - 152 * KiB);
  const [, ...others] = primaryLayout(options).areas;
  assertEquals(areas.slice(1), others.filter(({ name }) => name !== "staged map"));
});

Deno.test("regionPageOffset() puts the copies of a page into different halves of the map", () => {
  const layout = primaryLayout({ ...OPTIONS, primarySizeBytes: TiB });
  const start = layout.dirtyMapOffsetBytes;
  const offsets = [0, 1].flatMap((copy) =>
    [0, 4].map((page) => (regionPageOffset(layout, start, { page, copy }) - start) / PAGE_BYTES)
  );
  assertEquals(offsets, [0, 4, 5, 9]);
});

Deno.test("primaryLayout() refuses what can't be laid out and says which option", () => {
  const rows: [string, Parameters<typeof primaryLayout>[0]][] = [
    ["primary of 0B", { ...OPTIONS, primarySizeBytes: 0 }],
    ["primary of 64KiB", { ...OPTIONS, primarySizeBytes: 64 * KiB }],
    ["primary of 72KiB", { ...OPTIONS, primarySizeBytes: 72 * KiB }],
    ["primary of 96KiB", { ...OPTIONS, primarySizeBytes: 96 * KiB }],
    ["--region-size", { ...OPTIONS, primarySizeBytes: GiB, regionBytes: 0 }],
    ["--region-size", { ...OPTIONS, primarySizeBytes: GiB, regionBytes: 6 * KiB + 1 }],
    ["--region-size 4KiB", { ...OPTIONS, primarySizeBytes: 64 * TiB, regionBytes: 4 * KiB }],
    ["--data-block-size", { ...OPTIONS, primarySizeBytes: GiB, dataBlockBytes: 512 }],
    ["--data-block-size", { ...OPTIONS, primarySizeBytes: GiB, dataBlockBytes: 12288 }],
    ["device of 128.5TiB: at most 64TiB", { ...OPTIONS, primarySizeBytes: 128.5 * TiB }],
    ["--device-size", { ...OPTIONS, primarySizeBytes: GiB, deviceSizeBytes: 0 }],
    ["--device-size", { ...OPTIONS, primarySizeBytes: GiB, deviceSizeBytes: 4097 }],
    ["--device-size", { ...OPTIONS, primarySizeBytes: GiB, deviceSizeBytes: GiB }],
  ];
  for (const [part, options] of rows) {
    assertThrows(() => primaryLayout(options), ReplicaError, part, part);
  }
  assertEquals(primaryLayout({ ...OPTIONS, primarySizeBytes: 100 * KiB }).deviceSizeBytes, 4096);
});
