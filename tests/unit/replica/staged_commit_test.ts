import { createWriter, openWriter } from "../../support/sole_writer.ts";
import { listCheckpoints } from "../../../src/replica/inode_reader.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { readImage } from "../../support/image.ts";
import { TracedStore } from "../../support/traced_store.ts";

const AT = { mtimeMs: 5 };
const STAGE = { mtimeMs: 5, publish: false };

async function start(nodeCacheBytes = 1 << 20) {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1, nodeCacheBytes });
  await writer.commit(batchOf([[0, filled(1)], [500, filled(5)]]), AT);
  return { store, writer };
}

async function checkpoints(store: TracedStore): Promise<number[]> {
  const found: number[] = [];
  for await (const { cno } of listCheckpoints(store)) found.push(cno);
  return found;
}

for (const nodeCacheBytes of [0, 1 << 20]) {
  Deno.test(`staged commits show all at once (cache of ${nodeCacheBytes})`, async () => {
    const { store, writer } = await start(nodeCacheBytes);
    const inode = store.bytesOf("inode");
    for (let i = 0; i < 5; i++) {
      const blocks = Array.from({ length: 300 }, (_, k) => [i * 300 + k, filled(i + 10)] as const);
      const result = await writer.commit(batchOf(blocks), STAGE);
      assertEquals([result.cno, result.segmentId, result.putCount], [1, 3 + i, 1]);
    }
    assertEquals(store.bytesOf("inode"), inode);
    assertEquals((await readImage(store))[0], 1);
    assertEquals(await checkpoints(store), [1]);
    // The number that others would adopt is taken, by a segment that nobody adopts.
    assert(store.keys().includes("0000000002"), "segment 2 is an empty one");
    const result = await writer.commit(batchOf([[2000, filled(7)]]), AT);
    assertEquals([result.cno, writer.hasStaged], [8, false]);
    assertEquals(await checkpoints(store), [1, 8]);
    const image = await readImage(store);
    assertEquals([0, 500, 1499, 2000].map((block) => image[block * 4096]), [10, 11, 14, 7]);
    assertEquals((await readImage(store, 1))[0], 1);
    assertEquals((await writer.commit(batchOf([[3, filled(3)]]), AT)).cno, 9);
  });
}

Deno.test("an empty commit publishes what is staged, size included", async () => {
  const { store, writer } = await start();
  await writer.commit(batchOf([[700, filled(7)]]), STAGE);
  assertEquals((await readImage(store)).length, 501 * 4096);
  assertEquals((await writer.commit(batchOf([]), AT)).cno, 4);
  const image = await readImage(store);
  assertEquals([image.length, image[700 * 4096]], [701 * 4096, 7]);
});

Deno.test("discardStaged() returns to the last checkpoint and uses no number twice", async () => {
  const { store, writer } = await start();
  await writer.commit(batchOf([[0, filled(9)]]), STAGE);
  await writer.commit(batchOf([[1, filled(9)]]), STAGE);
  await writer.discardStaged();
  assertEquals(await checkpoints(store), [1]);
  assertEquals((await writer.commit(batchOf([[2, filled(2)]]), AT)).cno, 5);
  assertEquals(await checkpoints(store), [1, 5]);
  const image = await readImage(store);
  assertEquals([image[0], image[4096], image[2 * 4096]], [1, 0, 2]);
});

Deno.test("discardStaged() can be repeated when the store does not answer", async () => {
  const { store, writer } = await start();
  await writer.commit(batchOf([[0, filled(9)]]), STAGE);
  await writer.commit(batchOf([[1, filled(9)]]), STAGE);
  store.hook = () => "lost";
  await assertRejects(() => writer.discardStaged(), Error, "no answer");
  store.hook = () => undefined;
  await writer.discardStaged();
  assertEquals([writer.hasStaged, await checkpoints(store)], [false, [1]]);
});

Deno.test("a staged commit that failed is repeated with the same number", async () => {
  const { store, writer } = await start();
  const batch = batchOf([[0, filled(9)]]);
  let faults = 1;
  store.hook = ({ verb }) => verb === "put" && faults-- > 0 ? "lost" : undefined;
  await assertRejects(() => writer.commit(batch, STAGE), Error, "no answer");
  assertEquals((await writer.commit(batch, STAGE)).segmentId, 3);
  assertEquals((await writer.commit(batchOf([]), AT)).cno, 4);
  assertEquals((await readImage(store))[0], 9);
});

Deno.test("a failed staged commit can be discarded", async () => {
  const { store, writer } = await start();
  store.hook = ({ verb }) => verb === "put" ? "answer-lost" : verb === "get" ? "lost" : undefined;
  await assertRejects(() => writer.commit(batchOf([[0, filled(9)]]), STAGE), Error, "no answer");
  store.hook = () => undefined;
  await writer.discardStaged();
  assertEquals([writer.hasPending, await checkpoints(store)], [false, [1]]);
});

Deno.test("openClaimed() empties staged segments that a crash left behind", async () => {
  const { store, writer } = await start();
  await writer.commit(batchOf([[0, filled(9)]]), STAGE);
  await writer.commit(batchOf([[1, filled(9)]]), STAGE);
  const reopened = await openWriter(store, { adopt: true });
  assertEquals([reopened.lastCno, reopened.orphans.emptied], [1, [2, 3, 4]]);
  assertEquals((await reopened.commit(batchOf([[1, filled(3)]]), AT)).cno, 2);
  const image = await readImage(store);
  assertEquals([image[0], image[4096]], [1, 3]);
});
