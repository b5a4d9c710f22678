// What a writer under a claim finds above the last checkpoint, and what comes in its way later. The named
// cases were found by tests/model/two_writers_test.ts.

import { ReplicaError } from "../../../src/base/errors.ts";
import type { ReplicaClaim } from "../../../src/replica/claim.ts";
import { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import { listCheckpoints } from "../../../src/replica/inode_reader.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { Claimant, formatReplica } from "../../support/claimant.ts";
import { readImage } from "../../support/image.ts";
import { TracedStore } from "../../support/traced_store.ts";

const AT = { mtimeMs: 5 };
const STAGE = { ...AT, publish: false };

interface Scene {
  readonly store: TracedStore;
  readonly host: Claimant;
  readonly writer: HyperfileWriter;
  readonly claim: ReplicaClaim;
}

/** A replica with checkpoint 1 by host "db1", whose daemon runs. */
async function scene(): Promise<Scene> {
  const store = new TracedStore();
  await formatReplica(store);
  const host = new Claimant("db1");
  const { writer, claim } = await host.attach(store);
  await writer.commit(batchOf([[0, filled(1)], [1, filled(1)]]), AT);
  return { store, host, writer, claim };
}

const SECOND = batchOf([[0, filled(2)]]);

/** The writer puts the segment of checkpoint 2 and dies before the inode. */
async function dieBetweenPuts({ store, writer }: Scene): Promise<void> {
  store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await assertRejects(() => writer.commit(SECOND, AT), ReplicaError, "no answer");
  store.hook = () => undefined;
}

function takeOver(store: TracedStore, name = "db2") {
  return new Claimant(name).attach(store, { takeOver: true });
}

function published(store: TracedStore): Promise<number[]> {
  return Array.fromAsync(listCheckpoints(store), ({ cno }) => cno);
}

Deno.test("openClaimed() adopts the last commit of this primary's dead daemon", async () => {
  const one = await scene();
  await dieBetweenPuts(one);
  const { writer } = await one.host.attach(one.store, { adopt: true });
  assertEquals([writer.lastCno, writer.orphans], [2, { adopted: 2, emptied: [] }]);
  assertEquals((await readImage(one.store))[0], 2);
  assertEquals((await writer.commit(batchOf([[1, filled(3)]]), AT)).cno, 3);
  assertEquals(await published(one.store), [1, 2, 3]);
});

// Of all the requests of a start this one alone made it fail when its answer was lost.
Deno.test("openClaimed() adopts although the answer to the put of the inode is lost", async () => {
  const one = await scene();
  await dieBetweenPuts(one);
  let inodePuts = 0;
  one.store.hook = ({ verb, key }) =>
    // The first one is the claim's touch.
    verb === "put" && key === "inode" && [2, 3].includes(++inodePuts) ? "lost" : undefined;
  const { writer } = await one.host.attach(one.store, { adopt: true });
  assertEquals([writer.lastCno, inodePuts], [2, 4]);
  assertEquals(await published(one.store), [1, 2]);
});

Deno.test("openClaimed() empties another writer's orphan, and uses its number", async () => {
  const one = await scene();
  await dieBetweenPuts(one);
  const { writer } = await takeOver(one.store);
  assertEquals([writer.lastCno, writer.orphans], [1, { adopted: null, emptied: [2] }]);
  assertEquals(one.store.count("delete"), 0);
  assertEquals((await writer.commit(batchOf([[0, filled(9)]]), AT)).cno, 2);
  assertEquals([(await readImage(one.store))[0], await published(one.store)], [9, [1, 2]]);
});

Deno.test("openClaimed() does not adopt what a writer in between may yet empty", async () => {
  const one = await scene();
  await dieBetweenPuts(one);
  const between = await new Claimant("db2").take(one.store, { takeOver: true });
  await between.release();
  const { writer } = await one.host.attach(one.store, { adopt: true });
  assertEquals([writer.lastCno, writer.orphans], [1, { adopted: null, emptied: [2] }]);
});

Deno.test("openClaimed() touches nothing that a later writer put while it was listing", async () => {
  const one = await scene();
  const slow = await new Claimant("db2").take(one.store, { takeOver: true });
  let later: HyperfileWriter | null = null;
  one.store.hook = async ({ verb }) => {
    if (verb !== "list" || later !== null) return undefined;
    one.store.hook = () => undefined;
    later = (await takeOver(one.store, "db3")).writer;
    one.store.hook = ({ verb: v, key: k }) => v === "put" && k === "inode" ? "lost" : undefined;
    await later.commit(batchOf([[0, filled(7)]]), AT).catch(() => undefined);
    one.store.hook = () => undefined;
    return undefined;
  };
  await assertRejects(
    () => HyperfileWriter.openClaimed(one.store, { claim: slow, adoptEpoch: null }),
    ReplicaError,
    "took it over: host db3",
  );
  assertEquals(one.store.bytesOf("0000000002").length > 4096, true, "the later segment stands");
});

Deno.test("a zombie's segment in the way is replaced, and the zombie is fenced by name", async () => {
  const one = await scene();
  const { writer } = await takeOver(one.store);
  await assertRejects(
    () => one.writer.commit(batchOf([[0, filled(2)]]), AT),
    ReplicaError,
    "host db2",
  );
  assertEquals(one.store.keys().includes("0000000002"), true, "its orphan stands");
  assertEquals((await writer.commit(batchOf([[0, filled(9)]]), AT)).cno, 2);
  assertEquals((await readImage(one.store))[0], 9);
  assertEquals(one.store.count("delete"), 0);
});

Deno.test("two writers' inodes that are alike but for the times are not taken for one's own", async () => {
  const one = await scene();
  await dieBetweenPuts(one);
  const { writer } = await takeOver(one.store);
  // The same blocks in the same places: the roots are equal, the bytes are not.
  assertEquals((await writer.commit(batchOf([[0, filled(9)]]), AT)).cno, 2);
  await assertRejects(() => one.writer.commit(SECOND, AT), ReplicaError, "host db2");
  assertEquals([(await readImage(one.store))[0], await published(one.store)], [9, [1, 2]]);
});

Deno.test("staged segments leave no number to a zombie's late put", async () => {
  const one = await scene();
  const { writer } = await takeOver(one.store);
  await writer.commit(batchOf([[0, filled(5)]]), STAGE);
  await writer.discardStaged();
  await writer.commit(batchOf([[0, filled(6)]]), STAGE);
  // The zombie's put of number 2 arrives: the number is taken.
  await assertRejects(
    () => one.writer.commit(batchOf([[0, filled(2)]]), AT),
    ReplicaError,
    "host db2",
  );
  const { cno } = await writer.commit(batchOf([[1, filled(6)]]), AT);
  assertEquals([cno, await published(one.store)], [5, [1, 5]]);
  assertEquals(one.store.count("delete"), 0);
  const image = await readImage(one.store);
  assertEquals([image[0], image[4096]], [6, 6]);
});
