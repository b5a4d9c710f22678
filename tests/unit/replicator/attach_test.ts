// Attaching, cut short at every request to the store and at every operation of the primary, and tried
// again: what a start decides never depends on where the one before was cut.

import { ReplicaError } from "../../../src/base/errors.ts";
import { flushLogSlot } from "../../../src/format/flush_log.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { segmentKey } from "../../../src/format/segment.ts";
import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import {
  AT,
  attach,
  copyOf,
  cutEverywhere,
  decisionOf,
  formatted,
  live,
  type Place,
  SIZE,
} from "../../support/attach_place.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { FailingDisk } from "../../support/failing_disk.ts";

Deno.test("our own commit without its record is known after a start that was cut anywhere", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  await writer.commit(batchOf([[1, filled(9)]]), AT);
  await cutEverywhere(place, {}, async (left, cut) => {
    const { startup, writer } = await attach(left);
    assertEquals([startup.action, writer.lastCno], ["forward-part", 3], cut);
    const metadata = await PrimaryMetadata.load(left.disk);
    assertEquals(metadata.lastFlush?.cno, 3, cut);
  });
});

Deno.test("our own orphan is adopted or given up, whatever cut the start", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  place.store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await writer.commit(batchOf([[1, filled(9)]]), AT).catch(() => undefined);
  place.store.hook = () => undefined;
  assertEquals((await attach(copyOf(place))).writer.orphans.adopted, 3);
  await cutEverywhere(place, {}, async (left, cut) => {
    const { startup, writer } = await attach(left);
    assertEquals(startup.action, "forward-part", cut);
    assert([2, 3].includes(writer.lastCno), cut);
    await writer.commit(batchOf([[1, filled(7)]]), AT);
  });
});

Deno.test("an orphan of the drive that this one is an older copy of is given up", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  const snapshot = { ...place, disk: new FailingDisk(SIZE, place.disk.pages()) };
  place.store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await writer.commit(batchOf([[0, filled(8)], [1, filled(9)]]), AT).catch(() => undefined);
  place.store.hook = () => undefined;
  // Of a crash every block of the orphan is marked; the snapshot was taken before block 1 was.
  const marked = { has: (block: number) => block !== 1 };
  const { startup, writer: left } = await attach(snapshot, { marked });
  assertEquals([startup.action, left.orphans.adopted, left.lastCno], ["forward-part", null, 2]);
});

/** A primary with checkpoint 2, and a copy of it whose daemon has gone on to 3 and still runs. */
async function leftBehind(): Promise<Place> {
  const place = await formatted();
  await live(place, 2, "clean");
  const copy = { ...place, disk: new FailingDisk(SIZE, place.disk.pages()) };
  await live(copy, 1, "active");
  return place;
}

Deno.test("another writer's commit is never taken for ours, whatever cut the takeover", async () => {
  const place = await leftBehind();
  const metadata = await PrimaryMetadata.load(place.disk);
  await metadata.storeSuperblock({ state: "active", writtenMs: 4 });
  assertEquals(await decisionOf(copyOf(place)), "fenced");
  assertEquals(await decisionOf(copyOf(place), { takeOver: true }), "data");
  await cutEverywhere(place, { takeOver: true }, async (left, cut) => {
    assert(["fenced", "data"].includes(await decisionOf(left)), cut);
    assertEquals(await decisionOf(left, { takeOver: true, force: true }), "forward-full", cut);
  });
});

Deno.test("a forced copy stays a copy of everything until it is published", async () => {
  for (const state of ["clean", "active"] as const) {
    const place = await leftBehind();
    const metadata = await PrimaryMetadata.load(place.disk);
    await metadata.storeSuperblock({ state, writtenMs: 4 });
    const wishes = { takeOver: true, force: true, dirtyRegions: 0 };
    await cutEverywhere(place, wishes, async (left, cut) => {
      const again = await decisionOf(left, { dirtyRegions: 0 });
      assert(["fenced", "data", "forward-full"].includes(again), `${cut}: ${again}`);
    });
  }
});

Deno.test("a replica that is behind is followed only by force, and its numbers go on", async () => {
  const place = await formatted();
  await live(place, 1, "clean");
  const early = place.store.clone();
  await live(place, 3, "clean");
  const old = { ...place, store: early };
  assertEquals(await decisionOf(copyOf(old)), "data");
  const { writer, startup } = await attach(old, { force: true });
  assertEquals([startup.action, writer.lastCno], ["forward-full", 1]);
  const metadata = await PrimaryMetadata.load(old.disk);
  assertEquals([metadata.lastFlush?.cno, metadata.superblock.state], [1, "diverged"]);
  await metadata.appendFlushLog({ cno: 2, timeMs: 1, committedBytes: 1 });
});

Deno.test("a flush log that can't be read accuses nobody: the start fails with the drive's error", async () => {
  const place = await formatted();
  await live(place, 3, "clean");
  const { layout, lastFlush } = await PrimaryMetadata.load(place.disk);
  const slot = flushLogSlot(lastFlush?.sequence ?? 0);
  const offsetBytes = layout.flushLogOffsetBytes + slot * PAGE_BYTES;
  place.disk.faults = [{ kind: "unreadable", offsetBytes }];
  assertEquals(await decisionOf(place), "kernel");
  place.disk.faults = [];
  assertEquals(await decisionOf(place), "forward-part", "nothing was changed");
});

Deno.test("a primary that was restored from a snapshot of the same run is refused, whatever its map names", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  const snapshot = { ...place, disk: new FailingDisk(SIZE, place.disk.pages()) };
  const metadata = await PrimaryMetadata.load(place.disk);
  for (let i = 3; i <= 6; i++) {
    const { cno } = await writer.commit(batchOf([[i, filled(i)]]), AT);
    await metadata.appendFlushLog({ cno, timeMs: 1, committedBytes: 1 });
    // One ahead is what a crash leaves, which has marked what it wrote.
    const expected = cno === 3 ? "forward-part" : "data";
    assertEquals(await decisionOf(copyOf(snapshot)), expected, `${cno} checkpoints`);
    const marked = { has: (block: number) => block !== i };
    assertEquals(await decisionOf(copyOf(snapshot), { marked }), "data", `${cno} checkpoints`);
  }
  assertEquals(await decisionOf(copyOf(snapshot), { dirtyRegions: 0 }), "data");
  assertEquals(await decisionOf(copyOf(snapshot), { force: true }), "forward-full");
  assertEquals(await decisionOf(copyOf(place)), "forward-part", "the newest copy of it goes on");
});

/** A primary with checkpoint 3, which has blocks 1 to 8; its snapshot; and its daemon's writer. */
async function snapshotOfEight() {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  const eight = Array.from({ length: 8 }, (_, i) => [i + 1, filled(7)] as const);
  const { cno } = await writer.commit(batchOf(eight), AT);
  const metadata = await PrimaryMetadata.load(place.disk);
  await metadata.appendFlushLog({ cno, timeMs: 1, committedBytes: 1 });
  return { snapshot: copyOf(place), store: place.store, writer };
}

const DISCARD = batchOf([], [{ startBlock: 5, blockCount: 1 }]);

/** Maps that name every block but one. */
function markedBut(block: number) {
  return { marked: { has: (other: number) => other !== block } };
}

Deno.test("a snapshot is refused for a discard that its map does not name", async () => {
  const { snapshot: { disk }, store, writer } = await snapshotOfEight();
  await writer.commit(DISCARD, AT);
  assertEquals(await decisionOf(copyOf({ disk, store })), "forward-part");
  assertEquals(await decisionOf(copyOf({ disk, store }), markedBut(6)), "forward-part");
  assertEquals(await decisionOf(copyOf({ disk, store }), markedBut(5)), "data");
});

Deno.test("a snapshot is refused for what was staged and is published by the next checkpoint", async () => {
  const { snapshot: { disk }, store, writer } = await snapshotOfEight();
  await writer.commit(batchOf([[5, filled(8)]]), { ...AT, publish: false });
  await writer.commit(batchOf([[6, filled(8)]]), AT);
  assertEquals(await decisionOf(copyOf({ disk, store })), "forward-part");
  assertEquals(await decisionOf(copyOf({ disk, store }), markedBut(5)), "data");
});

Deno.test("an orphan with a discard that the map does not name is given up", async () => {
  const { snapshot: { disk }, store, writer } = await snapshotOfEight();
  store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await writer.commit(DISCARD, AT).catch(() => undefined);
  store.hook = () => undefined;
  assertEquals((await attach(copyOf({ disk, store }))).writer.orphans.adopted, 4);
  const { startup, writer: left } = await attach(copyOf({ disk, store }), markedBut(5));
  assertEquals([startup.action, left.orphans.adopted, left.lastCno], ["forward-part", null, 3]);
});

Deno.test("damage of the replica's trees accuses no primary", async () => {
  const { snapshot: { disk }, store, writer } = await snapshotOfEight();
  await writer.commit(DISCARD, AT);
  const bytes = store.bytesOf(segmentKey(3));
  // Its only node, behind the summary.
  bytes.fill(0xff, 4096, 8192);
  store.set(segmentKey(3), bytes);
  assertEquals(await decisionOf(copyOf({ disk, store }), markedBut(5)), "forward-part");
});

Deno.test("a primary and a replica that went on apart from one state are not equal at the same number", async () => {
  const place = await formatted();
  await live(place, 2, "clean");
  const copy = copyOf(place);
  for (const state of ["clean", "active"] as const) {
    const [one, other] = [copyOf(copy), copyOf(copy)];
    await live(one, 2, state);
    await live(other, 2, state, { mtimeMs: 6 });
    const crossed = { disk: one.disk, store: other.store };
    const takeOver = { takeOver: true };
    assertEquals(await decisionOf(copyOf(crossed), takeOver), "data", state);
    assertEquals(await decisionOf(copyOf(one), { dirtyRegions: 0 }), "attach", state);
    await cutEverywhere(crossed, { ...takeOver, force: true }, async (left, cut) => {
      const again = await decisionOf(left, { ...takeOver, dirtyRegions: 0 });
      assert(["data", "forward-full"].includes(again), `${cut}: ${again}`);
      assertEquals(await decisionOf(left, { ...takeOver, force: true }), "forward-full", cut);
    });
  }
});

Deno.test("a checkpoint whose segment is gone is not the one that the primary has seen", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  await writer.commit(batchOf([[1, filled(9)]]), AT);
  assertEquals(await decisionOf(copyOf(place)), "forward-part");
  await place.store.delete(segmentKey(2));
  assertEquals(await decisionOf(copyOf(place)), "data");
  assertEquals(await decisionOf(copyOf(place), { force: true }), "forward-full");
});

/** Makes a record of the flush log unreadable or damaged: `back` records before the newest. */
async function spoilRecord(
  place: Place,
  kind: "unreadable" | "damaged",
  back: number,
): Promise<void> {
  const { layout, lastFlush } = await PrimaryMetadata.load(place.disk);
  const slot = flushLogSlot((lastFlush?.sequence ?? 0) - back);
  const offsetBytes = layout.flushLogOffsetBytes + slot * PAGE_BYTES;
  if (kind === "unreadable") {
    place.disk.faults = [{ kind, offsetBytes }];
    return;
  }
  const page = await place.disk.read(offsetBytes, PAGE_BYTES);
  page[100] ^= 1;
  await place.disk.write(offsetBytes, page);
  await place.disk.flush();
}

Deno.test("a newest record that is damaged is named where it may be what speaks against the replica", async () => {
  const place = await formatted();
  await live(place, 3, "active");
  await spoilRecord(place, "damaged", 0);
  const unmarked = { marked: { has: () => false }, dirtyRegions: 0 };
  await assertRejects(
    () => attach(copyOf(place), unmarked),
    ReplicaError,
    "but the newest record of the primary's flush log is damaged",
  );
});

Deno.test("an old record that can't be read excuses no real contradiction", async () => {
  const place = await formatted();
  await live(place, 1, "clean");
  const early = place.store.clone();
  await live(place, 3, "clean");
  await spoilRecord(place, "unreadable", 2);
  assertEquals(await decisionOf({ ...place, store: early }), "data");
});
