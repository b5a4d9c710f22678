import { assertEquals } from "../../support/assert.ts";
import { FailingDisk, sectorChoosers, untilPowerCut } from "../../support/failing_disk.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { MiB } from "../../../src/base/units.ts";
import {
  dirtyMapPlace,
  primaryLayout,
  regionPageOffset,
} from "../../../src/format/primary_layout.ts";
import { REGIONS_PER_PAGE, testRegion } from "../../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { type KeptMap, readDirtyMap, writeEmptyMap } from "../../../src/primary/dirty_map.ts";
import {
  clearAllIntents,
  declareAllDirty,
  loadIntents,
} from "../../../src/replicator/intent_pages.ts";
import { IntentMap } from "../../../src/shared/intent_map.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../../src/shared/layout.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const UNIT = 4096;
const REGIONS = REGIONS_PER_PAGE + 5;
const LAYOUT = primaryLayout({
  primarySizeBytes: 200 * MiB,
  regionBytes: UNIT,
  dataBlockBytes: UNIT,
  deviceSizeBytes: REGIONS * UNIT,
});
const START = LAYOUT.dirtyMapOffsetBytes;

function placeOf(page: number, copy: number): number {
  return regionPageOffset(LAYOUT, START, { page, copy });
}

async function formattedDisk(): Promise<FailingDisk> {
  const disk = new FailingDisk(LAYOUT.primarySizeBytes);
  await writeEmptyMap(disk, LAYOUT, { uuid: UUID, map: "dirty" });
  await disk.flush();
  return disk;
}

function setOf({ pages }: KeptMap): number[] {
  return pages.flatMap(({ page, bits, regionCount }) =>
    Array.from({ length: regionCount }, (_, region) => region)
      .filter((region) => testRegion(bits, region))
      .map((region) => page * REGIONS_PER_PAGE + region)
  );
}

/** A device's memory with the map that the disk holds. */
async function started(disk: FailingDisk) {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: UNIT,
    unitBytes: UNIT,
    poolBytes: 64 * UNIT,
    regionBytes: UNIT,
    deviceSizeBytes: REGIONS * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const clock = new FakeClock();
  const loaded = await readDirtyMap(disk, LAYOUT, UUID, clock.wallMs());
  loadIntents(views, loaded);
  const writing = { views, disk, place: dirtyMapPlace(LAYOUT), clock };
  return { map: new IntentMap(views), loaded, writing };
}

/** Names regions of one page, as a queue does. */
async function name(disk: FailingDisk, map: IntentMap, ...regions: number[]): Promise<void> {
  const [page] = regions.map((region) => map.require(region, region));
  map.compose(page);
  await disk.write(placeOf(page, map.composedCopy(page)), map.stagedBytes(page).slice());
  await disk.flush();
  map.complete(page);
}

Deno.test("a fresh map is empty, what was named is found again, and a clean stop empties it", async () => {
  const disk = await formattedDisk();
  const { map, loaded, writing } = await started(disk);
  assertEquals([loaded.pages.length, loaded.doubtful, setOf(loaded)], [2, [], []]);
  for (const region of [7, 8, REGIONS - 1]) await name(disk, map, region);
  assertEquals(setOf(await readDirtyMap(disk, LAYOUT, UUID)), [7, 8, REGIONS - 1]);
  const again = await started(disk);
  assertEquals([again.map.dirtyCount(), again.map.isDurable(8)], [3, true]);
  await name(disk, again.map, 100);
  await clearAllIntents(writing);
  assertEquals(setOf(await readDirtyMap(disk, LAYOUT, UUID)), []);
  assertEquals(map.dirtyCount(), 0);
});

Deno.test("an update that a power cut tears leaves the page before it", async () => {
  for (const [cut, keeps] of sectorChoosers(6)) {
    for (const before of [[], [3]]) {
      const disk = await formattedDisk();
      const { map } = await started(disk);
      for (const region of before) await name(disk, map, region);
      disk.faults = [{ kind: "power cut", atOperation: disk.operations + 1 }];
      // In the first and in the last sector of the page.
      await untilPowerCut(() => name(disk, map, 9, 32_000));
      const found = await readDirtyMap(disk.survivor(keeps), LAYOUT, UUID);
      const whole = [...before, 9, 32_000];
      const expected = setOf(found).length === whole.length ? whole : before;
      assertEquals([setOf(found), found.doubtful], [expected, []], `${cut} after ${before}`);
      if (cut === "everything lands") assertEquals(expected, whole);
      if (cut === "first sectors land") assertEquals(expected, before);
    }
  }
});

Deno.test("where not all is known every region is dirty, and the primary is told so", async () => {
  const cases: [string, (disk: FailingDisk) => Promise<void>, string][] = [
    ["never written", (disk) => disk.write(placeOf(0, 0), new Uint8Array(PAGE_BYTES)), "absent"],
    [
      "both damaged",
      async (disk) => {
        const page = (await disk.read(placeOf(0, 0), PAGE_BYTES)).fill(1, 900, 901);
        await disk.write(placeOf(0, 0), page);
      },
      "checksum",
    ],
    [
      "one unreadable",
      (disk) => {
        disk.faults = [{ kind: "unreadable", offsetBytes: placeOf(0, 1) }];
        return Promise.resolve();
      },
      "can't be read",
    ],
    [
      // An update of a place whose sequence nobody knows has to win over the other place, too.
      "both unreadable for a while, after many updates",
      async (disk) => {
        const { map } = await started(disk);
        for (const region of [3, 4, 5, 6, 7]) await name(disk, map, region);
        disk.faults = [0, 1].map((copy) => ({
          kind: "unreadable" as const,
          offsetBytes: placeOf(0, copy),
        }));
      },
      "",
    ],
  ];
  for (const [what, damage, reason] of cases) {
    const disk = await formattedDisk();
    await damage(disk);
    const { map, loaded, writing } = await started(disk);
    assertEquals(loaded.doubtful.map(({ page }) => page), [0], what);
    assertEquals(loaded.doubtful[0].reason.includes(reason), true, loaded.doubtful[0].reason);
    assertEquals(map.dirtyCount(), REGIONS_PER_PAGE, what);
    await declareAllDirty(writing, [0]);
    disk.faults = [];
    const found = await readDirtyMap(disk, LAYOUT, UUID);
    assertEquals([found.doubtful, setOf(found).length], [[], REGIONS_PER_PAGE], what);
  }
});
