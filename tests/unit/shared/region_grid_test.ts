import fc from "fast-check";
import { KiB, SECTOR, TiB } from "../../../src/base/units.ts";
import { REGIONS_MAX } from "../../../src/format/primary_layout.ts";
import { RegionGrid } from "../../../src/shared/region_grid.ts";
import { assert, assertEquals } from "../../support/assert.ts";

/** Devices of up to 64 TiB with any region that the map has room for, and a block of each. */
const ANY_BLOCK = fc.record({
  unitLog2: fc.integer({ min: 12, max: 20 }),
  deviceShare: fc.double({ min: 0, max: 1, noNaN: true }),
  regionSectors: fc.oneof(
    fc.integer({ min: 1, max: 200 }),
    fc.integer({ min: 1, max: 1 << 22 }),
    fc.integer({ min: 1, max: 1 << 22 }).map((sectors) => sectors - sectors % 8 + 8),
  ),
  blockShare: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
}).map(({ unitLog2, deviceShare, regionSectors, blockShare }) => {
  const unitBytes = 2 ** unitLog2;
  const regionBytes = regionSectors * SECTOR;
  const bytes = Math.min(64 * TiB, REGIONS_MAX * regionBytes) * deviceShare;
  const deviceBlocks = Math.max(1, Math.floor(bytes / unitBytes));
  const block = Math.min(deviceBlocks - 1, Math.floor(deviceBlocks * blockShare));
  return { unitBytes, regionBytes, deviceBlocks, block };
});

Deno.test("RegionGrid names exactly the regions that a block lies in, up to 64 TiB", () => {
  fc.assert(
    fc.property(ANY_BLOCK, ({ block, ...layout }) => {
      const grid = new RegionGrid(layout);
      const unit = BigInt(layout.unitBytes);
      const region = BigInt(layout.regionBytes);
      const start = BigInt(block) * unit;
      assertEquals(grid.firstRegion(block), Number(start / region));
      assertEquals(grid.lastRegion(block), Number((start + unit - 1n) / region));
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("RegionGrid gives a region every block that lies in it, and none beyond the device", () => {
  fc.assert(
    fc.property(ANY_BLOCK, ({ block, ...layout }) => {
      const grid = new RegionGrid(layout);
      for (const region of [grid.firstRegion(block), grid.lastRegion(block)]) {
        const first = grid.firstBlock(region);
        const end = grid.endBlock(region);
        assert(first <= block && block < end && end <= layout.deviceBlocks);
        // The blocks at the ends lie in the region, those behind the ends do not.
        assert(grid.firstRegion(first) <= region && region <= grid.lastRegion(first));
        assert(grid.firstRegion(end - 1) <= region && region <= grid.lastRegion(end - 1));
        if (first > 0) assert(grid.lastRegion(first - 1) < region);
        if (end < layout.deviceBlocks) assert(grid.firstRegion(end) > region);
      }
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("RegionGrid: a block on a border lies in two regions, a small region in a part of a block", () => {
  const wide = new RegionGrid({ unitBytes: 4 * KiB, regionBytes: 6 * KiB, deviceBlocks: 100 });
  assertEquals([0, 1, 2, 3].map((block) => wide.firstRegion(block)), [0, 0, 1, 2]);
  assertEquals([0, 1, 2, 3].map((block) => wide.lastRegion(block)), [0, 1, 1, 2]);
  assertEquals([wide.firstBlock(1), wide.endBlock(1)], [1, 3]);
  const narrow = new RegionGrid({ unitBytes: 4 * KiB, regionBytes: 512, deviceBlocks: 100 });
  assertEquals([narrow.firstRegion(1), narrow.lastRegion(1)], [8, 15]);
  assertEquals([narrow.firstBlock(15), narrow.endBlock(15)], [1, 2]);
});
