import { ReplicaError } from "../../../src/base/errors.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { SegmentHeader } from "../../../src/format/segment.ts";
import type { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import { createWriter, openWriter } from "../../support/sole_writer.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { readImage } from "../../support/image.ts";
import { TracedStore } from "../../support/traced_store.ts";

const AT = { mtimeMs: 5 };
const ORPHAN = "0000000002";

/** A replica with checkpoint 1 and the segment of a checkpoint 2 whose inode was never put. */
async function withOrphan(): Promise<TracedStore> {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1 });
  await writer.commit(batchOf([[0, filled(1)], [400, filled(4)]]), AT);
  store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await writer.commit(batchOf([[0, filled(2)], [1, filled(3)]]), AT).catch(() => {});
  store.hook = () => undefined;
  assert(store.keys().includes(ORPHAN), "the orphan stands");
  return store;
}

function open(store: TracedStore, adopt: boolean): Promise<HyperfileWriter> {
  return openWriter(store, { adopt });
}

/** Whether a segment has no blocks: no tool takes it for a checkpoint. */
function isEmptied(store: TracedStore, key: string): boolean {
  const { nmetablk, ndatablk } = SegmentHeader.decode(viewOf(store.bytesOf(key)));
  return nmetablk === 0 && ndatablk === 0;
}

Deno.test("a whole segment that was never published is adopted, with its tree", async () => {
  const store = await withOrphan();
  const writer = await open(store, true);
  assertEquals([writer.lastCno, writer.orphans], [2, { adopted: 2, emptied: [] }]);
  let image = await readImage(store);
  assertEquals([image[0], image[4096], image[400 * 4096]], [2, 3, 4]);
  // The next commit is built on the adopted tree, not on the one before.
  assertEquals((await writer.commit(batchOf([[2, filled(9)]]), AT)).cno, 3);
  image = await readImage(store);
  assertEquals([image[0], image[4096], image[2 * 4096], image[400 * 4096]], [2, 3, 9, 4]);
});

Deno.test("it is emptied where nothing is to be adopted, and its number used again", async () => {
  const store = await withOrphan();
  const writer = await open(store, false);
  assertEquals([writer.lastCno, writer.orphans], [1, { adopted: null, emptied: [2] }]);
  assert(isEmptied(store, ORPHAN), "the orphan is empty");
  assertEquals((await writer.commit(batchOf([[2, filled(9)]]), AT)).cno, 2);
  const image = await readImage(store);
  assertEquals([image[0], image[4096], image[2 * 4096]], [1, 0, 9]);
});

for (const adopt of [true, false]) {
  Deno.test(`what lies beyond the next number is emptied (${adopt ? "" : "not "}adopting)`, async () => {
    const store = await withOrphan();
    const stale = ["0000000003", "0000000009", "1000000000"];
    for (const key of stale) store.set(key, store.bytesOf(ORPHAN));
    store.set("device.json", new Uint8Array(2));
    store.set("99", new Uint8Array(2));
    const puts: string[] = [];
    store.hook = ({ verb, key }) => {
      if (verb === "put") puts.push(key);
      return undefined;
    };
    const writer = await open(store, adopt);
    assertEquals(writer.lastCno, adopt ? 2 : 1);
    assertEquals(puts, [adopt ? "inode" : ORPHAN, ...stale]);
    for (const key of stale) assert(isEmptied(store, key), `${key} is empty`);
    assertEquals(store.count("delete"), 0);
    assert(store.keys().includes("device.json") && store.keys().includes("99"), "others stay");
  });
}

Deno.test("a segment that was not meant to be published is never adopted", async () => {
  const store = await withOrphan();
  const raw = store.bytesOf(ORPHAN);
  raw.set(store.bytesOf("inode"), SegmentHeader.offset.inode);
  store.set(ORPHAN, raw);
  const writer = await open(store, true);
  assertEquals([writer.lastCno, writer.orphans.emptied], [1, [2]]);
});

for (
  const [what, damage] of [
    ["a wrong magic", (raw: Uint8Array) => raw.fill(0, 0, 4)],
    ["too few bytes", (raw: Uint8Array) => raw.slice(0, -1)],
    ["no whole header", (raw: Uint8Array) => raw.slice(0, 100)],
    ["another geometry", (raw: Uint8Array) => {
      raw[SegmentHeader.offset.dataBlkShift] = 13;
      raw[SegmentHeader.offset.inode + 61] = 13;
      return raw;
    }],
    ["a wild root pointer", (raw: Uint8Array) => {
      viewOf(raw).setUint32(SegmentHeader.offset.inode + 104 + 32 + 4, 0x40000063, true);
      return raw;
    }],
  ] as const
) {
  Deno.test(`a segment with ${what} is not adopted`, async () => {
    const store = await withOrphan();
    const inode = store.bytesOf("inode");
    store.set(ORPHAN, damage(store.bytesOf(ORPHAN)));
    const writer = await open(store, true);
    assertEquals([writer.lastCno, writer.orphans.emptied], [1, [2]]);
    assertEquals(store.bytesOf("inode"), inode);
  });
}

Deno.test("readers leave orphans alone", async () => {
  const store = await withOrphan();
  store.requests.length = 0;
  const reader = await HyperfileReader.open(store);
  assertEquals([reader.cno, (await readImage(store))[0]], [1, 1]);
  assertEquals(store.requests.filter(({ verb }) => verb !== "get"), []);
  await assertRejects(
    () => HyperfileReader.open(store, { cno: 2 }),
    ReplicaError,
    "the newest is 1",
  );
});
