import { ReplicaError } from "../../../src/base/errors.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { createWriter } from "../../support/sole_writer.ts";
import { type CheckpointInfo, listCheckpoints } from "../../../src/replica/inode_reader.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled, stamped } from "../../support/batches.ts";
import { Prng } from "../../support/prng.ts";
import { TracedStore } from "../../support/traced_store.ts";
import { buildTreeImage } from "../../support/tree_image.ts";

const AT = { mtimeMs: 1_700_000_000_125 };

/** Four checkpoints: 2000 blocks in order, then every tenth again, then two more. */
async function replica(): Promise<TracedStore> {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1 });
  const first = Array.from({ length: 2000 }, (_, i) => [i, stamped(i + 1)] as const);
  await writer.commit(batchOf(first), AT);
  const second = Array.from({ length: 200 }, (_, i) => [i * 10, stamped(5000 + i)] as const);
  await writer.commit(batchOf(second), { mtimeMs: AT.mtimeMs + 1000 });
  await writer.commit(batchOf([[3000, filled(3)]], [{ startBlock: 1, blockCount: 8 }]), AT);
  await writer.commit(batchOf([[3001, filled(4)]]), AT);
  store.requests.length = 0;
  return store;
}

function stampAt(bytes: Uint8Array, at = 0): number {
  return new DataView(bytes.buffer, bytes.byteOffset + at).getFloat64(0, true);
}

Deno.test("read() asks for neighbouring blocks of a segment in one request", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store, { cno: 1 });
  const into = new Uint8Array(2000 * 4096);
  await reader.read(0, into);
  for (let i = 0; i < 2000; i++) assert(stampAt(into, i * 4096) === i + 1, `block ${i}`);
  // Segment header, inode, the tree nodes, the summary, 8 MiB of data.
  assert(store.count("get") <= 8, `${store.count("get")} requests`);
});

Deno.test("read() asks for what lies near in a segment together, though not near in the file", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store);
  await reader.read(0, new Uint8Array(reader.sizeBytes));
  store.requests.length = 0;
  // Blocks from segment 1 and 2 alternate 200 times.
  await reader.read(0, new Uint8Array(reader.sizeBytes));
  assertEquals(store.count("get"), 4);
});

Deno.test("read() takes any offset and length", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store);
  const whole = new Uint8Array(reader.sizeBytes + 10_000);
  await reader.read(0, whole);
  assertEquals(whole.subarray(reader.sizeBytes).some((byte) => byte !== 0), false);
  const random = new Prng(1);
  for (let i = 0; i < 200; i++) {
    const offset = random.below(whole.length);
    const length = random.below(Math.min(30_000, whole.length - offset));
    const into = filled(0xee, length);
    await reader.read(offset, into);
    const expected = whole.subarray(offset, offset + length);
    assert(into.every((byte, k) => byte === expected[k]), `read(${offset}, ${length})`);
  }
});

Deno.test("read() of part of a block asks for that part only", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store, { crossCheck: false });
  await reader.read(5 * 4096, new Uint8Array(4096));
  store.requests.length = 0;
  const into = new Uint8Array(100);
  await reader.read(15 * 4096 + 8, into);
  assertEquals(stampAt(into), 16);
  assertEquals(store.requests.map(({ range }) => range?.length), [100]);
});

Deno.test("read() runs a bounded number of requests at once", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store, { concurrency: 3 });
  store.hook = () => new Promise((resolve) => setTimeout(() => resolve(undefined), 1));
  await reader.read(0, new Uint8Array(reader.sizeBytes));
  assertEquals(store.runningMax, 3);
});

Deno.test("the node cache stays within its bound", async () => {
  const blocks = new Map<number, Uint8Array | null>();
  for (let i = 0; i < 2000; i++) blocks.set(i * 7, null);
  const { store } = buildTreeImage({
    blocks,
    fanOut: 4,
    pointerFormat: 2,
    segments: 2,
    sizeBytes: 14_000 * 4096,
    random: new Prng(2),
  });
  const reader = await HyperfileReader.open(store, { nodeCacheBytes: 10 * 4096 });
  for await (const extent of reader.extents()) assert(false, `${extent}`);
  assertEquals(reader.cachedBytes, 10 * 4096);
  const cacheless = await HyperfileReader.open(store, { nodeCacheBytes: 0 });
  await cacheless.read(0, new Uint8Array(1 << 20));
  assertEquals(cacheless.cachedBytes, 0);
});

Deno.test("extents() yields what is mapped, coalesced, from any block on", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store);
  const all: { startBlock: number; blockCount: number; segmentId: number }[] = [];
  for await (const { startBlock, blockCount, segmentId } of reader.extents()) {
    all.push({ startBlock, blockCount, segmentId });
  }
  assertEquals(all.slice(0, 3), [
    { startBlock: 0, blockCount: 1, segmentId: 2 },
    { startBlock: 9, blockCount: 1, segmentId: 1 },
    { startBlock: 10, blockCount: 1, segmentId: 2 },
  ]);
  assertEquals(all.slice(-2), [
    { startBlock: 3000, blockCount: 1, segmentId: 3 },
    { startBlock: 3001, blockCount: 1, segmentId: 4 },
  ]);
  const some: number[] = [];
  for await (const { startBlock } of reader.extents(1985, 3001)) some.push(startBlock);
  assertEquals(some, [1985, 1990, 1991, 3000]);
  const first = await HyperfileReader.open(store, { cno: 1 });
  for await (const extent of first.extents()) {
    assertEquals([extent.startBlock, extent.blockCount, extent.segmentId], [0, 2000, 1]);
  }
});

Deno.test("extents() stops reading when its consumer stops", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store);
  store.requests.length = 0;
  for await (const extent of reader.extents(3000)) {
    assertEquals(extent.startBlock, 3000);
    break;
  }
  assert(store.count("get") <= 4, `${store.count("get")} requests`);
});

Deno.test("open() by number opens what that checkpoint held", async () => {
  const store = await replica();
  for (const [cno, block, stamp, size] of [[1, 10, 11, 2000], [2, 10, 5001, 2000]] as const) {
    const reader = await HyperfileReader.open(store, { cno });
    const into = new Uint8Array(4096);
    await reader.read(block * 4096, into);
    assertEquals([stampAt(into), reader.sizeBytes, reader.cno], [stamp, size * 4096, cno]);
  }
  await assertRejects(() => HyperfileReader.open(store, { cno: 5 }), ReplicaError, "no such");
});

Deno.test("open() of an old checkpoint works when the inode is damaged or gone", async () => {
  const store = await replica();
  store.set("inode", new Uint8Array(10));
  await assertRejects(() => HyperfileReader.open(store), ReplicaError, "10 bytes of 160");
  assertEquals((await HyperfileReader.open(store, { cno: 2 })).cno, 2);
  store.inner.objects.delete("inode");
  await assertRejects(() => HyperfileReader.open(store), ReplicaError, "no inode");
  assertEquals((await HyperfileReader.open(store, { cno: 2 })).cno, 2);
});

Deno.test("listCheckpoints() lists what was published, and says what is damaged", async () => {
  const store = await replica();
  store.set("0000000003", store.bytesOf("0000000003").fill(0, 0, 4));
  store.set("0000000009", store.bytesOf("0000000004"));
  store.set("device.json", new Uint8Array(3));
  const list: CheckpointInfo[] = [];
  for await (const info of listCheckpoints(store)) list.push(info);
  assertEquals(list.map(({ cno, sizeBytes }) => [cno, sizeBytes]), [
    [1, 2000 * 4096],
    [2, 2000 * 4096],
    [3, 0],
    [4, 3002 * 4096],
  ]);
  assertEquals(list[1].mtimeMs, AT.mtimeMs + 1000);
  assertEquals(list[1].segmentBytes, store.bytesOf("0000000002").length);
  assertEquals(list.map(({ damage }) => damage === null), [true, true, false, true]);
  const late: number[] = [];
  for await (const { cno } of listCheckpoints(store, { from: 3 })) late.push(cno);
  assertEquals(late, [3, 4]);
});

Deno.test("errors of the store pass through, and nothing is written to the buffer afterwards", async () => {
  const store = await replica();
  const reader = await HyperfileReader.open(store);
  await reader.read(0, new Uint8Array(reader.sizeBytes));
  // One request for each of the four segments: the second fails, the others take longer.
  store.hook = async ({ key }) => {
    if (key === "0000000002") return "lost";
    await new Promise((resolve) => setTimeout(resolve, 5));
    return undefined;
  };
  const into = new Uint8Array(reader.sizeBytes);
  try {
    await reader.read(0, into);
    assert(false, "the read fails");
  } catch (error) {
    assert(error instanceof ReplicaError && error.kind === "unavailable", `${error}`);
  }
  into.fill(0xee);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert(into.every((byte) => byte === 0xee), "the buffer is the caller's again");
});
