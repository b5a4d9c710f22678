// Going on with segments that an earlier run of the same primary has staged.

import { InodeRecord } from "../../../src/format/inode.ts";
import type { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import { listCheckpoints, readHead } from "../../../src/replica/inode_reader.ts";
import { readStagedTail, type StagedTail } from "../../../src/replica/staged_tail.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { Claimant, formatReplica } from "../../support/claimant.ts";
import { readImage } from "../../support/image.ts";
import { TracedStore } from "../../support/traced_store.ts";

const AT = { mtimeMs: 5 };
const STAGE = { ...AT, publish: false };

/** Checkpoint 1, and segments 3, 4 and 5 staged after it by a daemon that then dies. */
async function stagedScene() {
  const store = new TracedStore();
  await formatReplica(store);
  const host = new Claimant("db1");
  const { writer } = await host.attach(store);
  await writer.commit(batchOf([[0, filled(1)], [500, filled(5)]]), AT);
  for (const n of [3, 4, 5]) await writer.commit(batchOf([[n, filled(n)]]), STAGE);
  return { store, host, writer };
}

async function tailOf(store: TracedStore, last: number): Promise<StagedTail | null> {
  return await readStagedTail(store, (await readHead(store)).inode, last);
}

async function blocksOf(store: TracedStore, cno = 0): Promise<number[]> {
  const image = await readImage(store, cno);
  return [0, 3, 4, 5, 6, 500].map((block) => image[block * 4096]);
}

async function resumed(
  { store, host }: { store: TracedStore; host: Claimant },
  staged: StagedTail | null,
): Promise<HyperfileWriter> {
  return (await host.attach(store, { staged })).writer;
}

Deno.test("a writer goes on with staged segments, and empties what is above them", async () => {
  const scene = await stagedScene();
  const { store } = scene;
  const tail = await tailOf(store, 4);
  assertEquals(tail?.segments.map(({ id }) => id), [3, 4]);
  const writer = await resumed(scene, tail);
  assertEquals([writer.lastCno, writer.stagedId, writer.orphans.emptied], [1, 4, [5]]);
  assertEquals(await blocksOf(store), [1, 0, 0, 0, 0, 5], "nothing shows yet");
  const { segmentId } = await writer.commit(batchOf([[6, filled(6)]]), STAGE);
  assertEquals(segmentId, 5, "the emptied number is used");
  assertEquals((await writer.commit(batchOf([]), AT)).cno, 6);
  assertEquals(await blocksOf(store), [1, 3, 4, 0, 6, 5]);
  assertEquals(await Array.fromAsync(listCheckpoints(store), ({ cno }) => cno), [1, 6]);
  assertEquals(await blocksOf(store, 1), [1, 0, 0, 0, 0, 5]);
});

Deno.test("staged segments can be published by a writer that adds nothing, or given up", async () => {
  const scene = await stagedScene();
  const given = { store: scene.store.clone(), host: scene.host.copy("db1") };
  const writer = await resumed(scene, await tailOf(scene.store, 5));
  assertEquals((await writer.commit(batchOf([]), AT)).cno, 6);
  assertEquals(await blocksOf(scene.store), [1, 3, 4, 5, 0, 5]);
  const other = await resumed(given, await tailOf(given.store, 5));
  await other.discardStaged();
  assertEquals((await other.commit(batchOf([[6, filled(6)]]), AT)).cno, 6);
  assertEquals(await blocksOf(given.store), [1, 0, 0, 0, 6, 5]);
});

Deno.test("a staged segment shows other tools the checkpoint before it, and its root at its end", async () => {
  const { store } = await stagedScene();
  const segment = store.bytesOf("0000000004");
  assert(segment !== undefined);
  const { bmap } = (await readHead(store)).inode;
  const header = InodeRecord.decode(new DataView(segment.buffer, segment.byteOffset + 24));
  assertEquals([header.lastCno, header.bmap], [1, bmap]);
  const end = segment.byteOffset + segment.length - InodeRecord.size;
  const own = InodeRecord.decode(new DataView(segment.buffer, end));
  assert(own.lastCno === 1 && own.bmap.some((byte, i) => byte !== bmap[i]));
});

Deno.test("staged segments that do not all stand there whole are not gone on with", async () => {
  const { store, host } = await stagedScene();
  assertEquals(await tailOf(store, 6), null, "never staged");
  const cut = store.clone();
  const bytes = store.bytesOf("0000000005");
  cut.set("0000000005", bytes?.slice(0, -1) ?? new Uint8Array());
  assertEquals(await tailOf(cut, 5), null, "cut short");
  const gap = store.clone();
  await gap.delete("0000000003");
  assertEquals(await tailOf(gap, 5), null, "one is missing");
  // Emptied by a start that did not go on with them.
  await host.attach(store);
  assertEquals(await tailOf(store, 5), null, "emptied");
});

Deno.test("once they are published nothing is staged any more", async () => {
  const { store, writer } = await stagedScene();
  await writer.commit(batchOf([]), AT);
  assertEquals(await tailOf(store, 5), null);
});
