// The cleaner while a resync runs: dirty regions become staged ones.

import { MiB } from "../../../src/base/units.ts";
import { primaryLayout } from "../../../src/format/primary_layout.ts";
import { REGIONS_PER_PAGE } from "../../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { writeEmptyMap } from "../../../src/primary/dirty_map.ts";
import { type Coverage, IntentCleaner } from "../../../src/replicator/intent_cleaner.ts";
import { StagedMap } from "../../../src/replicator/staged_map.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { assertEquals } from "../../support/assert.ts";
import { FailingDisk } from "../../support/failing_disk.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { PLACE, twoGates } from "../../support/two_gates.ts";

const GENERATION_MS = 1000;
const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const REGIONS = REGIONS_PER_PAGE + 10;
const LAYOUT = primaryLayout({
  primarySizeBytes: 200 * MiB,
  regionBytes: PAGE_BYTES,
  dataBlockBytes: PAGE_BYTES,
  deviceSizeBytes: REGIONS * PAGE_BYTES,
});

/** A device in which every region has one block, with a resync under way. */
async function resyncing() {
  const { gates: [gate], map, views, pool, change: enter } = twoGates();
  const disk = new FailingDisk(LAYOUT.primarySizeBytes);
  await writeEmptyMap(disk, LAYOUT, { uuid: UUID, map: "staged" });
  const load = async () => {
    const staged = await StagedMap.load(disk, LAYOUT, UUID);
    if (staged === null) throw new Error("there is a staged map");
    return staged;
  };
  const clock = new FakeClock();
  const copying: { first: number; count: number }[] = [];
  const cleaner = new IntentCleaner({
    views,
    disk: { write: () => Promise.resolve(), flush: () => Promise.resolve() },
    place: PLACE,
    staged: await load(),
    unsettled: () => copying,
    clock,
    wakeQueues: () => {},
    onTrouble: () => {},
    generationMs: GENERATION_MS,
  });
  const coverage = {
    committedPosition: pool.tail(),
    wholeCopy: 0,
    chain: { baseCno: 7, segmentId: 9, wholeCopy: 0 } as Coverage["chain"],
    isDamaged: false,
    isRecorded: true,
  };
  /** Everything in the ring is in segment `segmentId`, or published. */
  function committed(segmentId: number): void {
    coverage.committedPosition = pool.head();
    coverage.chain = { baseCno: 7, segmentId, wholeCopy: coverage.wholeCopy };
  }
  async function steps(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      clock.advance(GENERATION_MS);
      await cleaner.step(coverage);
    }
  }
  /** A change of a region, up to its capture. */
  function change(tag: number, region: number): void {
    enter(tag, region);
    gate.leave(tag);
  }
  /** Of some regions: dirty in memory, staged on the primary. */
  async function marks(...regions: number[]): Promise<string[]> {
    const staged = await load();
    return regions.map((region) =>
      (map.isDurable(region) ? "dirty " : "") + (staged.holds(region) ? "staged" : "")
    );
  }
  const stale = new StaleMap(views);
  return { load, stale, copying, coverage, committed, steps, change, marks };
}

Deno.test("IntentCleaner stages what staged segments cover, but no region with stale chunks or copies", async () => {
  const { load, stale, copying, committed, steps, change, marks } = await resyncing();
  [5, 6, 7, REGIONS_PER_PAGE + 1].forEach((region, tag) => change(tag, region));
  stale.mark(6, 1);
  copying.push({ first: 7, count: 1 });
  await steps(4);
  const regions = [5, 6, 7, REGIONS_PER_PAGE + 1];
  assertEquals(await marks(...regions), ["dirty ", "dirty ", "dirty ", "dirty "]);
  committed(9);
  await steps(2);
  assertEquals(await marks(...regions), ["staged", "dirty ", "dirty ", "staged"]);
  const tag = { baseCno: 7, segmentId: 9, isWhole: false };
  assertEquals((await load()).pages.map(({ staged }) => staged), [tag, tag]);
  copying.pop();
  await steps(4);
  assertEquals(await marks(...regions), ["staged", "dirty ", "staged", "staged"]);
});

Deno.test("IntentCleaner names a later segment for what was written to a staged region", async () => {
  const { load, stale, committed, steps, change, marks } = await resyncing();
  stale.mark(100, 1);
  change(0, 5);
  committed(9);
  await steps(4);
  assertEquals(await marks(5), ["staged"]);
  change(0, 5);
  assertEquals(await marks(5), ["dirty staged"]);
  await steps(2);
  committed(12);
  await steps(2);
  assertEquals([await marks(5), (await load()).chainAfter(7)?.segmentId], [["staged"], 12]);
});

Deno.test("IntentCleaner stages what a copy of the whole device copies, and not what one before did", async () => {
  const { load, stale, coverage, committed, steps, change, marks } = await resyncing();
  change(0, 5);
  stale.mark(100, 1);
  committed(9);
  await steps(4);
  assertEquals(await marks(5, 6), ["staged", ""]);
  coverage.wholeCopy = 1;
  stale.mark(0, REGIONS);
  stale.take(6, 1);
  stale.settle(1);
  committed(10);
  await steps(4);
  assertEquals(await marks(5, 6, 7), ["dirty ", "staged", ""]);
  assertEquals((await load()).chainAfter(7), { baseCno: 7, segmentId: 10, isWhole: true });
});

Deno.test("IntentCleaner stages nothing in a round in which a copy of the whole device begins", async () => {
  const { stale, coverage, committed, steps, change, marks } = await resyncing();
  stale.mark(100, 1);
  change(0, 5);
  await steps(3);
  coverage.wholeCopy = 1;
  stale.mark(0, REGIONS);
  committed(9);
  await steps(3);
  assertEquals(await marks(5), ["dirty "]);
});

Deno.test("IntentCleaner keeps a copy of the whole device from going on with what is damaged", async () => {
  const { load, stale, coverage, committed, steps, marks } = await resyncing();
  coverage.wholeCopy = 1;
  stale.mark(1, REGIONS - 1);
  committed(9);
  await steps(4);
  assertEquals(await marks(0, 1), ["staged", ""]);
  coverage.isDamaged = true;
  await steps(1);
  assertEquals((await load()).chainAfter(7), { baseCno: 7, segmentId: 9, isWhole: false });
  assertEquals(await marks(0), ["staged"]);
});
