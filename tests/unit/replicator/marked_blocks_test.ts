// Which blocks a start takes for named: all that a resync of dirty regions may copy, and nothing that an
// earlier chain of staged segments had.

import { SECTOR } from "../../../src/base/units.ts";
import { emptyRegionPage, setRegion } from "../../../src/format/region_map.ts";
import { MarkedBlocks } from "../../../src/replicator/marked_blocks.ts";
import { markDirtyRegions } from "../../../src/replicator/stale_at_start.ts";
import { IntentMap } from "../../../src/shared/intent_map.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../../src/shared/layout.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { assertEquals } from "../../support/assert.ts";
import { formatted, mapsOf } from "../../support/attach_place.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const UNIT = 4096;
const BLOCKS = 64;

/** The blocks of a device whose second region alone is dirty: those that a resync copies, those that are named. */
function copiedAndNamed(regionBytes: number, chunkBlocksMin: number): [number[], number[]] {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: UNIT,
    unitBytes: UNIT,
    poolBytes: 64 * UNIT,
    regionBytes,
    deviceSizeBytes: BLOCKS * UNIT,
    chunkBlocksMin,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const page = emptyRegionPage({
    uuid: UUID,
    map: "dirty",
    page: 0,
    regionCount: layout.regionCount,
  });
  setRegion(page.bits, 1, true);
  new IntentMap(views).load({ ...page, sequence: 1 });
  markDirtyRegions(views);
  const [stale, marked] = [new StaleMap(views), new MarkedBlocks(views, null, 0)];
  const all = Array.from({ length: BLOCKS }, (_, block) => block);
  return [
    all.filter((block) => stale.overlaps(block, 1)),
    all.filter((block) => marked.has(block)),
  ];
}

Deno.test("MarkedBlocks names just what a resync of dirty regions copies", () => {
  for (const regionBytes of [4 * UNIT, 4 * UNIT + SECTOR, UNIT / 2, 6 * UNIT]) {
    for (const chunkBlocks of [1, 16]) {
      const [copied, named] = copiedAndNamed(regionBytes, chunkBlocks);
      assertEquals(named, copied, `regions of ${regionBytes}, chunks of ${chunkBlocks}`);
    }
  }
});

Deno.test("MarkedBlocks heeds the staged map's pages after the recorded checkpoint only", async () => {
  const { disk } = await formatted();
  const { views, staged } = await mapsOf(disk);
  const regions = new Int32Array(1024);
  regions[0] = 0b1;
  await staged.add([0], { baseCno: 2, segmentId: 4, wholeCopy: 0 }, regions);
  const named = [2, 3].map((recordedCno) => new MarkedBlocks(views, staged, recordedCno).has(5));
  assertEquals(named, [true, false]);
});
