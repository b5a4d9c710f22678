import { ReplicaError } from "../../../src/base/errors.ts";
import { isDirect, rootWords } from "../../../src/format/bmap.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { createWriter, openWriter } from "../../support/sole_writer.ts";
import type { WriterOptions } from "../../../src/replica/writer_options.ts";
import { readInode } from "../../../src/replica/inode_reader.ts";
import type { CheckpointBatch } from "../../../src/format/checkpoint_batch.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled, stamped } from "../../support/batches.ts";
import { readImage } from "../../support/image.ts";
import { Prng } from "../../support/prng.ts";
import { TracedStore } from "../../support/traced_store.ts";
import { fillOf, treeStats } from "../../support/tree_stats.ts";

const AT = { mtimeMs: 5 };

async function create(options: WriterOptions & { sizeBytes?: number } = {}) {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1, ...options });
  return { store, writer };
}

/** Zero pointers for ranges: trees of any size without data. */
function pointers(...ranges: [number, number][]): CheckpointBatch {
  return batchOf([], ranges.map(([startBlock, blockCount]) => ({ startBlock, blockCount })));
}

Deno.test("commit() fills nodes to the brim when blocks are appended", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  for (let at = 0; at < 100_000; at += 777) await writer.commit(pointers([at, 777]), AT);
  const stats = await treeStats(store);
  assertEquals(stats.rootLevel, 3);
  assert(fillOf(stats, 1) > 0.98, `leaves are ${fillOf(stats, 1)} full`);
  assert(stats.counts[2].length <= 2, `${stats.counts[2].length} nodes at level 2`);
});

Deno.test("commit() fills nodes when several streams append in the middle", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  for (let round = 0; round < 100; round++) {
    const starts = [0, 1, 2, 3].map((s) => [s * 1_000_000 + round * 256, 256] as [number, number]);
    await writer.commit(pointers(...starts), AT);
  }
  const fill = fillOf(await treeStats(store), 1);
  assert(fill > 0.9, `leaves are ${fill} full`);
});

Deno.test("commit() keeps leaves more than half full when keys come at random", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  const random = new Prng(3);
  const all = new Set<number>();
  for (let round = 0; round < 200; round++) {
    const keys = new Set<number>();
    while (keys.size < 100) keys.add(random.below(1_000_000));
    keys.forEach((key) => all.add(key));
    await writer.commit(pointers(...[...keys].map((key) => [key, 1] as [number, number])), AT);
  }
  const stats = await treeStats(store);
  assertEquals(stats.counts[1].reduce((sum, count) => sum + count, 0), all.size);
  assert(fillOf(stats, 1) > 0.5, `leaves are ${fillOf(stats, 1)} full`);
});

Deno.test("commit() drops subtrees inside a zero range without reading them", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  await writer.commit(pointers([0, 300_000]), AT);
  const cold = await openWriter(store, { nodeCacheBytes: 0 });
  store.requests.length = 0;
  const { metaBlocks } = await cold.commit(pointers([1000, 290_000]), AT);
  // A path at each end of the range, and nothing between.
  assert(store.count("get") <= 6, `${store.count("get")} requests`);
  assert(metaBlocks <= 6, `${metaBlocks} new nodes`);
  const left = (await treeStats(store)).counts[1].reduce((sum, count) => sum + count, 0);
  assertEquals(left, 10_000);
});

Deno.test("commit() makes neighbours of small new nodes one node", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  await writer.commit(pointers([0, 20_000]), AT);
  const before = (await treeStats(store)).counts[1].length;
  // Keeps 20 of each 500 keys.
  const holes = Array.from({ length: 40 }, (_, i) => [i * 500 + 20, 480] as [number, number]);
  const plain = await openWriter(store);
  await plain.commit(pointers(...holes), AT);
  const stats = await treeStats(store);
  const leaves = stats.counts[1]?.length ?? 1;
  assert(leaves < before / 8, `${leaves} leaves of ${before}`);
});

Deno.test("commit() shrinks the root, down to an empty direct one", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  await writer.commit(pointers([0, 200_000]), AT);
  assertEquals((await treeStats(store)).rootLevel, 4);
  const plain = await openWriter(store);
  await plain.commit(pointers([0, 100], [103, 199_897]), AT);
  assertEquals(await treeStats(store), { rootLevel: 1, rootChildren: 3, counts: [], capacity: 0 });
  const result = await plain.commit(pointers([0, 200_000]), AT);
  assertEquals([result.metaBlocks, result.dataBlocks, result.segmentBytes], [0, 0, 4096]);
  const root = rootWords((await readInode(store))!.inode.bmap);
  assert(isDirect(root), "the root is direct again");
  assertEquals([...root], [1 << 8, 2, ...new Array(12).fill(0)]);
  assertEquals((await plain.commit(batchOf([[9, filled(9)]]), AT)).cno, 4);
  const block = new Uint8Array(4096);
  await (await HyperfileReader.open(store)).read(9 * 4096, block);
  assertEquals(block, filled(9));
});

Deno.test("a root with one unread child takes over that child's few entries", async () => {
  const { store, writer } = await create({ zeroForm: "pointer" });
  // Leaf 0 holds 255 keys; a second, far away, holds 2.
  await writer.commit(pointers([0, 255], [100_000, 2]), AT);
  assertEquals((await treeStats(store)).counts[1], [255, 2]);
  const cold = await openWriter(store, { nodeCacheBytes: 0 });
  await cold.commit(pointers([0, 50_000]), AT);
  assertEquals((await treeStats(store)).rootLevel, 1);
  assertEquals((await treeStats(store)).rootChildren, 2);
});

Deno.test("commit() that changes nothing writes nothing", async () => {
  const { store, writer } = await create({ sizeBytes: 1 << 20 });
  await writer.commit(batchOf([[3, filled(3)]]), AT);
  store.requests.length = 0;
  for (const batch of [batchOf([]), pointers([10, 5]), batchOf([[7, filled(0)]])]) {
    const result = await writer.commit(batch, AT);
    assertEquals([result.cno, result.segmentId, result.putCount], [1, 0, 0]);
  }
  assertEquals(store.requests, []);
});

Deno.test("commit() of a greater size alone puts only the inode, and no checkpoint", async () => {
  const { store, writer } = await create();
  await writer.commit(batchOf([[3, filled(3)]]), AT);
  store.requests.length = 0;
  const result = await writer.commit(batchOf([]), { mtimeMs: 9, sizeBytes: 100_001 });
  assertEquals([result.cno, result.segmentId, result.putCount], [1, 0, 1]);
  assertEquals(store.requests.map(({ verb, key }) => `${verb} ${key}`), ["put inode"]);
  const { inode } = (await readInode(store))!;
  assertEquals([inode.size, inode.blocks, inode.lastSeq, inode.lastCno], [100_001, 196n, 1, 1]);
  await assertRejects(
    () => writer.commit(batchOf([]), { mtimeMs: 9, sizeBytes: 100_000 }),
    ReplicaError,
    "Cannot shrink",
  );
});

Deno.test("commit() zeroes what lies past the end in the last block", async () => {
  const { store, writer } = await create();
  const data = filled(7);
  await writer.commit(batchOf([[0, data], [1, data]]), { mtimeMs: 1, sizeBytes: 4096 + 10 });
  assertEquals(data[4095], 7);
  await writer.commit(batchOf([]), { mtimeMs: 2, sizeBytes: 3 * 4096 });
  const image = await readImage(store);
  assertEquals(image.lastIndexOf(7), 4096 + 9);
  await assertRejects(
    () => writer.commit(batchOf([[3, data]]), { mtimeMs: 3, sizeBytes: 3 * 4096 }),
    Error,
    "lies inside",
  );
});

Deno.test("commit() stores blocks of zeros as holes or as pointers", async () => {
  for (
    const options of [{}, { zeroForm: "pointer" }] as const
  ) {
    const { store, writer } = await create(options);
    const result = await writer.commit(batchOf([[0, filled(0)], [1, filled(1)]]), AT);
    assertEquals(result.dataBlocks, 1);
    const image = await readImage(store);
    assertEquals([image[0], image[4096], image.length], [0, 1, 8192]);
  }
});

Deno.test("commit() refuses a segment above the bound, and stays usable", async () => {
  const { store, writer } = await create({ segmentBytesMax: 64 * 1024 });
  const blocks = Array.from({ length: 16 }, (_, i) => [i * 1000, stamped(i + 1)] as const);
  await assertRejects(() => writer.commit(batchOf(blocks), AT), ReplicaError, "above 64KiB");
  assertEquals([store.count("put"), writer.hasPending], [1, false]);
  assertEquals(writer.safeBatchBlocks, 3);
  for (const block of blocks) await writer.commit(batchOf([block]), AT);
  assertEquals((await readImage(store)).length, 15_001 * 4096);
});

Deno.test("safeBatchBlocks fits however the blocks are scattered", async () => {
  const { store, writer: first } = await create({ zeroForm: "pointer" });
  await first.commit(pointers([0, 200_000]), AT);
  const writer = await openWriter(store, { segmentBytesMax: 1 << 20 });
  const blocks = Array.from(
    { length: writer.safeBatchBlocks },
    (_, i) => [i * Math.floor(200_000 / writer.safeBatchBlocks), stamped(i + 1)] as const,
  );
  const { segmentBytes } = await writer.commit(batchOf(blocks), AT);
  assert(segmentBytes <= 1 << 20, `${segmentBytes} bytes`);
});

Deno.test("commit() refuses batches that are not in order", async () => {
  const { writer } = await create();
  const bad: CheckpointBatch[] = [
    { blockCount: 2, blockIndex: (i) => 5 - i, blockBytes: () => filled(1), zeroRanges: [] },
    { blockCount: 2, blockIndex: () => 5, blockBytes: () => filled(1), zeroRanges: [] },
    batchOf([[5, filled(1)]], [{ startBlock: 4, blockCount: 2 }]),
    batchOf([[5, filled(1)]], [{ startBlock: 5, blockCount: 2 }]),
    batchOf([], [{ startBlock: 5, blockCount: 0 }]),
    batchOf([], [{ startBlock: 5, blockCount: 9 }, { startBlock: 8, blockCount: 1 }]),
    batchOf([[-1, filled(1)]]),
    batchOf([[0.5, filled(1)]]),
    batchOf([[0, filled(1, 512)]]),
  ];
  for (const batch of bad) await assertRejects(() => writer.commit(batch, AT), Error);
  assertEquals((await writer.commit(batchOf([[0, filled(1)]]), AT)).cno, 1);
});

Deno.test("create() refuses a second replica, and accepts its own again", async () => {
  const store = new TracedStore();
  store.hook = ({ verb }) => verb === "put" ? "answer-lost" : undefined;
  await assertRejects(() => createWriter(store, { createdMs: 1 }), ReplicaError);
  store.hook = () => undefined;
  assertEquals((await createWriter(store, { createdMs: 1 })).lastCno, 0);
  await assertRejects(
    () => createWriter(store, { createdMs: 2 }),
    ReplicaError,
    "there is one already",
  );
});

Deno.test("create() refuses block sizes that the format does not have", async () => {
  for (const size of [0, 512, 4097, 12288, 2 ** 31, NaN]) {
    for (const option of ["metaBlockBytes", "dataBlockBytes"]) {
      const options = { createdMs: 1, [option]: size };
      await assertRejects(() => createWriter(new TracedStore(), options), ReplicaError);
    }
  }
});

Deno.test("open() without an inode is a usage error", async () => {
  await assertRejects(
    () => openWriter(new TracedStore()),
    ReplicaError,
    "there is no inode",
  );
});

Deno.test("a writer in the shared memory of other threads reads blocks in place", async () => {
  const { store, writer } = await create();
  const shared = new Uint8Array(new SharedArrayBuffer(3 * 4096));
  shared.fill(1, 0, 4096).fill(2, 4096, 8192);
  const views = [0, 1, 2].map((i) => shared.subarray(i * 4096, (i + 1) * 4096));
  await writer.commit(batchOf([[4, views[0]], [5, views[1]], [6, views[2]]]), AT);
  const image = new Uint8Array(new SharedArrayBuffer(3 * 4096));
  await (await HyperfileReader.open(store)).read(4 * 4096, image);
  assertEquals([...image], [...shared]);
});
