// Every sequence of stores is cut at every operation, with every kind of survivor, and loaded again.

import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import {
  FailingDisk,
  type Fault,
  sectorChoosers,
  untilPowerCut,
} from "../../support/failing_disk.ts";
import { MiB } from "../../../src/base/units.ts";
import { InvariantError } from "../../../src/base/assert.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { primaryLayout } from "../../../src/format/primary_layout.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import type { Superblock } from "../../../src/format/superblock.ts";
import { type FlushEntry, PrimaryMetadata, readSuperblock } from "../../../src/primary/metadata.ts";
import { UnfinishedFormat } from "../../../src/primary/format_metadata.ts";

const SIZE = 4 * MiB;
const LAYOUT = primaryLayout({
  primarySizeBytes: SIZE,
  regionBytes: MiB,
  dataBlockBytes: PAGE_BYTES,
});
const [COPY0, COPY1] = LAYOUT.superblockOffsetsBytes;
const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const OTHER = "11111111-2222-4333-8444-555555555555";

/** Long enough that a torn superblock page differs in more than its first sector. */
const ROOT = `file:///replicas/${"x".repeat(900)}`;

function intent(uuid: string, sequence: number): Superblock {
  return {
    sequence,
    uuid,
    primarySizeBytes: SIZE,
    deviceSizeBytes: LAYOUT.deviceSizeBytes,
    regionBytes: MiB,
    metaBlockBytes: 4096,
    dataBlockBytes: 4096,
    state: "formatting",
    createdMs: 1,
    writtenMs: 1,
    claim: null,
    hasStagedMap: true,
    replicaRoot: ROOT + uuid,
  };
}

async function format(disk: FailingDisk, uuid = UUID, sequence = 1): Promise<void> {
  const unfinished = await UnfinishedFormat.begin(disk, LAYOUT, intent(uuid, sequence));
  await unfinished.finish(2);
}

async function formattedDisk(): Promise<FailingDisk> {
  const disk = new FailingDisk(SIZE);
  await format(disk);
  return new FailingDisk(SIZE, disk.pages());
}

function entry(cno: number): FlushEntry {
  return {
    cno,
    ringPosition: cno * 10,
    committedBytes: 4096,
    timeMs: cno,
    inodeEtag: `"${"e".repeat(60)}${cno}"`,
    checkpointDigest: `d${cno}`,
  };
}

/** Cuts the power at each operation of `body` in turn and checks each possible survivor. */
async function cutEverywhere(
  start: FailingDisk,
  body: (disk: FailingDisk, step: (name: string) => void) => Promise<void>,
  verify: (disk: FailingDisk, lastStep: string, row: string) => Promise<void>,
): Promise<number> {
  for (let operation = 0;; operation++) {
    const disk = new FailingDisk(SIZE, start.pages());
    disk.faults = [{ kind: "power cut", atOperation: operation }];
    let lastStep = "";
    const end = await untilPowerCut(() => body(disk, (name) => lastStep = name));
    for (const [name, keeps] of sectorChoosers(12)) {
      const row = `cut at ${operation} after "${lastStep}", ${name}`;
      await verify(disk.survivor(keeps), lastStep, row);
    }
    if (end === "done") return operation;
  }
}

Deno.test("load() finds what the last store before any power cut left, or the one it was in", async () => {
  const cuts = await cutEverywhere(
    await formattedDisk(),
    async (disk, step) => {
      const metadata = await PrimaryMetadata.load(disk);
      step("formatted");
      await metadata.storeSuperblock({ state: "active", writtenMs: 10 });
      step("active");
      await metadata.markClean(20);
      step("clean");
      await (await PrimaryMetadata.load(disk)).storeSuperblock({ state: "active", writtenMs: 30 });
      step("active again");
    },
    async (disk, lastStep, row) => {
      const allowed: Record<string, string[]> = {
        "formatted": ["formatted 2", "active 10"],
        "active": ["active 10", "clean 20"],
        "clean": ["clean 20", "active 30"],
        "active again": ["active 30"],
      };
      const { superblock } = await PrimaryMetadata.load(disk);
      const found = `${superblock.state} ${superblock.writtenMs}`;
      assert(allowed[lastStep].includes(found), `${row}: ${found}`);
      // Life goes on from any survivor, and the next store makes both copies whole again.
      await (await PrimaryMetadata.load(disk)).markClean(99);
      const reloaded = await PrimaryMetadata.load(disk);
      assertEquals([reloaded.superblock.writtenMs, reloaded.redundant], [99, true], row);
    },
  );
  assertEquals(cuts, 12);
});

Deno.test("load() survives a second power cut in the store after the first one", async () => {
  const start = await formattedDisk();
  for (let first = 0; first < 4; first++) {
    for (const [, keepsFirst] of sectorChoosers(2)) {
      const disk = new FailingDisk(SIZE, start.pages());
      disk.faults = [{ kind: "power cut", atOperation: first }];
      await untilPowerCut(async () =>
        (await PrimaryMetadata.load(disk)).storeSuperblock({ state: "active", writtenMs: 10 })
      );
      await cutEverywhere(
        disk.survivor(keepsFirst),
        async (again) => (await PrimaryMetadata.load(again)).markClean(20),
        async (again, _, row) => {
          const { writtenMs } = (await PrimaryMetadata.load(again)).superblock;
          assert([2, 10, 20].includes(writtenMs), row);
        },
      );
    }
  }
});

Deno.test("appendFlushLog() never loses an acknowledged record to a power cut", async () => {
  const start = await formattedDisk();
  const before = await PrimaryMetadata.load(start);
  for (let cno = 1; cno <= 20; cno++) await before.appendFlushLog(entry(cno));
  await cutEverywhere(
    start,
    async (disk, step) => {
      const metadata = await PrimaryMetadata.load(disk);
      for (let cno = 21; cno <= 24; cno++) {
        step(`${cno - 1}`);
        await metadata.appendFlushLog(entry(cno));
      }
      step("24");
    },
    async (disk, lastStep, row) => {
      const metadata = await PrimaryMetadata.load(disk);
      const last = metadata.lastFlush!.cno;
      assert(last === Number(lastStep) || last === Number(lastStep) + 1, `${row}: ${last}`);
      assert(metadata.history.length >= 15, row);
      await metadata.appendFlushLog(entry(last + 1));
      assertEquals((await PrimaryMetadata.load(disk)).lastFlush, metadata.lastFlush, row);
    },
  );
});

Deno.test("a format cut anywhere leaves the old device, an unfinished one, or none", async () => {
  const old = await formattedDisk();
  await (await PrimaryMetadata.load(old)).storeSuperblock({ state: "active", writtenMs: 10 });
  await (await PrimaryMetadata.load(old)).appendFlushLog(entry(5));
  const seen = new Set<string>();
  await cutEverywhere(
    old,
    async (disk, step) => {
      step("old");
      await format(disk, OTHER, 9);
      step("new");
    },
    async (disk, lastStep, row) => {
      const verdict = await readSuperblock(disk);
      const found = verdict.kind !== "valid"
        ? verdict.kind
        : `${verdict.superblock.uuid === UUID ? "old" : "new"} ${verdict.superblock.state}`;
      seen.add(found);
      const allowed = ["old active", "damaged", "absent", "new formatting", "new formatted"];
      assert(lastStep === "new" ? found === "new formatted" : allowed.includes(found), row);
      if (found === "new formatted") {
        assertEquals((await PrimaryMetadata.load(disk)).history, [], row);
      }
      if (found === "new formatting") {
        await assertRejects(() => PrimaryMetadata.load(disk), ReplicaError, "interrupted", row);
        await format(disk, OTHER, 20);
        assertEquals((await PrimaryMetadata.load(disk)).superblock.state, "formatted", row);
      }
    },
  );
  for (const found of ["old active", "new formatting", "new formatted"]) assert(seen.has(found));
});

Deno.test("rollBack() restores every byte, cut or not, without ever showing two identities", async () => {
  const old = await formattedDisk();
  await cutEverywhere(
    old,
    async (disk) => {
      const unfinished = await UnfinishedFormat.begin(disk, LAYOUT, intent(OTHER, 9));
      await unfinished.rollBack();
      assertEquals(disk.pages(), old.pages());
    },
    async (disk, _, row) => assert((await readSuperblock(disk)).kind !== "conflict", row),
  );
});

Deno.test("a copy that can't be read, or whose write was swallowed, costs only the redundancy", async () => {
  for (const copy of [COPY0, COPY1]) {
    const disk = await formattedDisk();
    disk.faults = [{ kind: "unreadable", offsetBytes: copy }];
    const metadata = await PrimaryMetadata.load(disk);
    assertEquals([metadata.superblock.state, metadata.redundant], ["formatted", false]);
  }
  for (const atOperation of [0, 2]) {
    const disk = await formattedDisk();
    disk.faults = [{ kind: "lost write", atOperation }];
    await (await PrimaryMetadata.load(disk)).storeSuperblock({ state: "active", writtenMs: 10 });
    const metadata = await PrimaryMetadata.load(disk);
    assertEquals([metadata.superblock.writtenMs, metadata.redundant], [10, false]);
  }
});

Deno.test("load() fails with the disk's error when no copy can be read", async () => {
  const disk = await formattedDisk();
  disk.faults = [COPY0, COPY1].map((offsetBytes) => ({ kind: "unreadable", offsetBytes }));
  await assertRejects(() => PrimaryMetadata.load(disk), ReplicaError, "EIO");
});

Deno.test("storeSuperblock() can be repeated after any write or flush error", async () => {
  const rows: Fault[] = [];
  for (const atOperation of [0, 2]) {
    for (const lands of [false, true]) rows.push({ kind: "write error", atOperation, lands });
  }
  for (const atOperation of [1, 3]) rows.push({ kind: "flush error", atOperation });
  for (const fault of rows) {
    const row = JSON.stringify(fault);
    const disk = await formattedDisk();
    disk.faults = [fault];
    const metadata = await PrimaryMetadata.load(disk);
    await assertRejects(
      () => metadata.storeSuperblock({ state: "active", writtenMs: 10 }),
      ReplicaError,
      "EIO",
      row,
    );
    const between = await PrimaryMetadata.load(disk.survivor(() => true));
    assert([2, 10].includes(between.superblock.writtenMs), row);
    await metadata.markClean(20);
    const after = await PrimaryMetadata.load(disk.survivor(() => false));
    assertEquals([after.superblock.writtenMs, after.redundant], [20, true], row);
  }
});

Deno.test("appendFlushLog() repeats a failed append in the same slot", async () => {
  for (const lands of [false, true]) {
    const disk = await formattedDisk();
    const metadata = await PrimaryMetadata.load(disk);
    await metadata.appendFlushLog(entry(1));
    disk.faults = [{ kind: "write error", atOperation: disk.operations, lands }];
    await assertRejects(() => metadata.appendFlushLog(entry(2)), ReplicaError, "EIO");
    assertEquals(metadata.lastFlush?.cno, 1);
    await metadata.appendFlushLog(entry(3));
    const { history } = await PrimaryMetadata.load(disk.survivor(() => false));
    assertEquals(history.map(({ sequence, cno }) => [sequence, cno]), [[1, 1], [2, 3]]);
  }
});

Deno.test("appendFlushLog() refuses numbers that do not grow and calls that overlap", async () => {
  const metadata = await PrimaryMetadata.load(await formattedDisk());
  await metadata.appendFlushLog(entry(4));
  await assertRejects(() => metadata.appendFlushLog(entry(4)), InvariantError, "grow");
  const pending = metadata.appendFlushLog(entry(5));
  await assertRejects(
    () => metadata.storeSuperblock({ state: "active", writtenMs: 1 }),
    InvariantError,
    "overlap",
  );
  await pending;
});

Deno.test("markDiverged() stays until another state is stored on purpose", async () => {
  const disk = await formattedDisk();
  const metadata = await PrimaryMetadata.load(disk);
  await metadata.storeSuperblock({ state: "active", writtenMs: 10 });
  await metadata.markDiverged(20);
  await metadata.markClean(30);
  const again = await PrimaryMetadata.load(disk);
  assertEquals(again.superblock.state, "diverged");
  await again.storeSuperblock({ state: "active", writtenMs: 50 });
  assertEquals((await PrimaryMetadata.load(disk)).superblock.state, "active");
});

Deno.test("load() passes over a flush log slot that can't be read", async () => {
  const disk = await formattedDisk();
  const metadata = await PrimaryMetadata.load(disk);
  for (let cno = 1; cno <= 3; cno++) await metadata.appendFlushLog(entry(cno));
  disk.faults = [{ kind: "unreadable", offsetBytes: LAYOUT.flushLogOffsetBytes + 3 * PAGE_BYTES }];
  const again = await PrimaryMetadata.load(disk);
  assertEquals([again.lastFlush?.cno, again.damagedSlots], [2, [3]]);
});

Deno.test("load() says why it refuses a primary", async () => {
  const empty = new FailingDisk(SIZE);
  await assertRejects(() => PrimaryMetadata.load(empty), ReplicaError, "not formatted");
  await assertRejects(
    () => PrimaryMetadata.load(new FailingDisk(0)),
    ReplicaError,
    "not formatted",
  );

  const torn = await formattedDisk();
  for (const copy of [COPY0, COPY1]) {
    const page = (await torn.read(copy, PAGE_BYTES)).fill(0, 1024);
    await torn.write(copy, page);
  }
  await assertRejects(
    () => PrimaryMetadata.load(torn),
    ReplicaError,
    "no superblock copy is whole",
  );

  const mixed = await formattedDisk();
  const other = new FailingDisk(SIZE);
  await format(other, OTHER);
  await mixed.write(COPY1, await other.read(COPY1, PAGE_BYTES));
  await assertRejects(() => PrimaryMetadata.load(mixed), ReplicaError, "two devices");

  const grown = new FailingDisk(2 * SIZE);
  const formatted = await formattedDisk();
  await grown.write(2 * SIZE - PAGE_BYTES, await formatted.read(COPY1, PAGE_BYTES));
  await assertRejects(() => PrimaryMetadata.load(grown), ReplicaError, "has 8388608 now");
});
