import { assert, assertEquals } from "../../support/assert.ts";
import { FailingDisk } from "../../support/failing_disk.ts";
import { MiB } from "../../../src/base/units.ts";
import { primaryReportText } from "../../../src/cli/inspect_primary.ts";
import { primaryLayout } from "../../../src/format/primary_layout.ts";
import { emptyRegionPage, encodeRegionPage, setRegion } from "../../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { inspectPrimary } from "../../../src/primary/inspect_primary.ts";
import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { UnfinishedFormat } from "../../../src/primary/format_metadata.ts";

const SIZE = 64 * MiB;
const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const LAYOUT = primaryLayout({ primarySizeBytes: SIZE, regionBytes: MiB, dataBlockBytes: 4096 });
const [COPY0, COPY1] = LAYOUT.superblockOffsetsBytes;

async function device(): Promise<FailingDisk> {
  const disk = new FailingDisk(SIZE);
  const format = await UnfinishedFormat.begin(disk, LAYOUT, {
    sequence: 1,
    uuid: UUID,
    primarySizeBytes: SIZE,
    deviceSizeBytes: LAYOUT.deviceSizeBytes,
    regionBytes: MiB,
    metaBlockBytes: 4096,
    dataBlockBytes: 4096,
    state: "formatting",
    createdMs: 1_700_000_000_000,
    writtenMs: 1_700_000_000_000,
    claim: null,
    hasStagedMap: true,
    replicaRoot: "s3://bucket/root",
  });
  await format.finish(1_700_000_000_000);
  const metadata = await PrimaryMetadata.load(disk);
  for (let cno = 1; cno <= 18; cno++) {
    await metadata.appendFlushLog({ cno, timeMs: 1_700_000_000_000, committedBytes: 8192 });
  }
  const page = { ...emptyRegionPage({ uuid: UUID, map: "dirty", page: 0, regionCount: 64 }) };
  for (const region of [3, 5]) setRegion(page.bits, region, true);
  await disk.write(LAYOUT.dirtyMapOffsetBytes, encodeRegionPage({ ...page, sequence: 1 }));
  return disk;
}

async function spoil(disk: FailingDisk, offsetBytes: number): Promise<void> {
  await disk.write(offsetBytes, (await disk.read(offsetBytes, PAGE_BYTES)).fill(0xee, 2000, 2100));
}

Deno.test("inspectPrimary() tells everything about a whole primary and writes nothing", async () => {
  const disk = await device();
  const writes = disk.operations;
  const report = await inspectPrimary(disk);
  assertEquals(disk.operations, writes);
  assertEquals([report.verdict, report.redundant, report.lastCno], ["valid", true, 18]);
  assertEquals(report.superblock?.uuid, UUID);
  assertEquals(report.flushLog.filter(({ state }) => state === "valid").length, 16);
  assertEquals(report.areas, LAYOUT.areas);
  assertEquals(
    report.maps.map(({ name, setRegions, regionCount }) => [name, setRegions, regionCount]),
    [["dirty", 2, 64], ["missing", 0, 64], ["staged", 0, 64]],
  );
  const text = primaryReportText(report);
  for (const part of [UUID, `s3://bucket/root/${UUID}`, "dirty: 2 of 64", "2023-11-14"]) {
    assert(text.includes(part), part);
  }
});

Deno.test("inspectPrimary() tells of which segments the staged map speaks", async () => {
  const disk = await device();
  const page = emptyRegionPage({ uuid: UUID, map: "staged", page: 0, regionCount: 64 });
  page.bits[0] = 0b110;
  const start = LAYOUT.stagedMapOffsetBytes ?? 0;
  for (const [baseCno, text] of [[18, "up to segment 40\n"], [3, "published since"]] as const) {
    const staged = { baseCno, segmentId: 40, isWhole: true };
    await disk.write(start, encodeRegionPage({ ...page, staged, sequence: 2 }));
    const report = await inspectPrimary(disk);
    assertEquals([report.maps[2].setRegions, report.maps[2].staged], [2, [staged]]);
    const shown = primaryReportText(report);
    assert(shown.includes(`after checkpoint ${baseCno}, up to segment 40`), shown);
    assert(shown.includes(text), shown);
  }
});

Deno.test("inspectPrimary() goes on past every kind of damage", async () => {
  const disk = await device();
  await spoil(disk, COPY0);
  await spoil(disk, LAYOUT.flushLogOffsetBytes + 2 * PAGE_BYTES);
  await spoil(disk, LAYOUT.dirtyMapOffsetBytes);
  disk.faults = [{ kind: "unreadable", offsetBytes: LAYOUT.flushLogOffsetBytes }];
  const report = await inspectPrimary(disk);
  assertEquals([report.verdict, report.redundant, report.lastCno], ["valid", false, 17]);
  assertEquals(report.superblocks.map(({ state }) => state), ["damaged", "valid"]);
  assertEquals(report.superblocks[0].suspect?.deviceSizeBytes, LAYOUT.deviceSizeBytes);
  assertEquals([0, 2, 3].map((slot) => report.flushLog[slot].state), [
    "unreadable",
    "damaged",
    "valid",
  ]);
  assertEquals(report.maps[0].damagedPages.length, 1);
  assert(primaryReportText(report).includes("not to be believed"));
});

Deno.test("inspectPrimary() decodes the flush log also when no superblock is left", async () => {
  const disk = await device();
  await spoil(disk, COPY0);
  disk.faults = [{ kind: "unreadable", offsetBytes: COPY1 }];
  const report = await inspectPrimary(disk);
  assertEquals([report.verdict, report.lastCno, report.maps], ["damaged", null, []]);
  assertEquals(report.flushLog[2].value?.cno, 18);
  assert(primaryReportText(report).includes("verdict  damaged: copy 0: checksum"));
});

Deno.test("inspectPrimary() takes any disk, formatted or not, of any size", async () => {
  for (const size of [0, 4096, 8192, 70_000, SIZE]) {
    const report = await inspectPrimary(new FailingDisk(size));
    assertEquals([report.verdict, report.areas, report.maps], ["absent", [], []]);
    assert(primaryReportText(report).includes("not formatted"));
  }
});
