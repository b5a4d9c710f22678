// Comparing primary and replica over the real ring, replicator and resync in memory.

import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { dataError, ReplicaError } from "../../../src/base/errors.ts";
import { Verify } from "../../../src/replicator/verify.ts";
import { BLOCKS, REGION_BLOCKS, UNIT, VerifyWorld } from "../../support/verify_world.ts";
import { IntervalLock } from "../../../src/shared/interval_lock.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";

const STRETCH_BLOCKS = (1 << 20) / UNIT;

/** Writes all over the device until `done` settles. */
async function writeUntil(world: VerifyWorld, done: Promise<unknown>): Promise<number> {
  let isDone = false;
  const end = () => isDone = true;
  done.then(end, end);
  let writes = 0;
  for (; !isDone; writes++) {
    const block = (writes * 37) % BLOCKS;
    while (!world.write(block, 1 + writes % 255)) await systemClock.sleep(1);
    if (writes % 8 === 0) await systemClock.sleep(1);
  }
  return writes;
}

Deno.test("verify finds primary and replica equal, also an empty one", async () => {
  await using world = new VerifyWorld();
  assertEquals(await world.verify(), {
    comparedBlocks: BLOCKS,
    cno: 0,
    differing: [],
    damaged: [],
    unreadable: [],
    busyBlocks: 0,
    isComplete: true,
  });
  for (let block = 0; block < 300; block++) world.write(block, block % 256);
  const found = await world.verify();
  assertEquals([found.differing, found.busyBlocks], [[], 0]);
  assert(found.cno > 0, "what was in the ring was waited for");
});

Deno.test("verify is not deceived by writes that go on", async () => {
  await using world = new VerifyWorld();
  const verifying = world.verify();
  const writes = await writeUntil(world, verifying);
  const found = await verifying;
  assertEquals([found.differing, found.damaged, found.comparedBlocks], [[], [], BLOCKS]);
  assert(writes > 50, `${writes} writes went on meanwhile`);
});

Deno.test("verify finds what differs while writes go on, and repair brings it to the replica", async () => {
  await using world = new VerifyWorld();
  world.write(5, 5);
  await world.equal();
  // As a store would lose it: the image that is published, and every later one.
  const wrong = [0, 100, 101, 102, STRETCH_BLOCKS - 1, STRETCH_BLOCKS, BLOCKS - 1];
  for (const block of wrong) {
    world.replica.image[block] = 77;
    world.replica.published[block] = 77;
  }
  const found = await world.verify();
  assertEquals(found.differing, [
    { firstBlock: 0, blocks: 1 },
    { firstBlock: 100, blocks: 3 },
    { firstBlock: STRETCH_BLOCKS - 1, blocks: 2 },
    { firstBlock: BLOCKS - 1, blocks: 1 },
  ]);
  assertEquals(new StaleMap(world.views).count(), 0, "a comparison alone changes nothing");
  assertEquals(world.mapWrites, 0);

  await world.repair(found);
  for (const block of wrong) {
    assert(world.intents.isDurable(Math.floor(block / REGION_BLOCKS)), `${block} is remembered`);
  }
  assertEquals(world.intents.dirtyCount(), 5);
  assertEquals(world.intents.inFlight(0) + world.intents.inFlight(1), 0);
  const verifying = world.verify();
  await writeUntil(world, verifying);
  assertEquals((await verifying).differing, []);
  await world.equal();
  assert(world.stages.has("waiting"), "for the resync that repaired");
});

Deno.test("a repair that the primary refuses leaves nothing half done", async () => {
  await using world = new VerifyWorld();
  world.write(5, 5);
  await world.equal();
  world.mapWritesMax = 1;
  const wrong = [{ firstBlock: 3, blocks: 1 }, { firstBlock: 900, blocks: 2 }];
  for (const block of [3, 900, 901]) world.replica.image[block] = 77;
  world.replica.published = world.replica.image.slice();
  const found = await world.verify();
  assertEquals(found.differing, wrong);
  await assertRejects(() => world.repair(found), ReplicaError, "EIO");
  assertEquals(world.intents.inFlight(0) + world.intents.inFlight(1), 0);
  assertEquals((await world.verify()).differing, wrong.slice(1), "what was marked is copied");
  world.mapWritesMax = Infinity;
  await world.repair(found);
  assertEquals((await world.verify()).differing, [], "no lock of a page stays");
});

Deno.test("verify compares a block again that changed between its reads", async () => {
  await using world = new VerifyWorld();
  let opened = 0;
  world.onOpen = () => {
    // Published is what was read; then the replica gets something newer before it is opened.
    if (opened++ === 0) {
      world.primary[9] = 9;
      world.replica.published[9] = 9;
    }
  };
  const found = await world.verify();
  assertEquals([found.differing, found.busyBlocks], [[], 0]);
  assertEquals(opened, 2, "one more round, for that block");
});

Deno.test("verify leaves a block that never rests undecided", async () => {
  await using world = new VerifyWorld();
  let value = 0;
  world.replica.published[9] = 255;
  world.onOpen = () => world.primary[9] = 1 + value++ % 250;
  const found = await world.verify();
  assertEquals([found.differing, found.busyBlocks], [[], 1]);
});

Deno.test("verify reports what the replica cannot read, and goes on", async () => {
  await using world = new VerifyWorld();
  world.write(BLOCKS - 1, 3);
  await world.equal();
  world.damage.set(STRETCH_BLOCKS + 3, dataError("Cannot read data in 0000000007"));
  world.replica.published[BLOCKS - 1] = 0;
  const found = await world.verify();
  assertEquals(found.damaged, [{
    firstBlock: STRETCH_BLOCKS,
    blocks: STRETCH_BLOCKS,
    message: "Cannot read data in 0000000007",
  }]);
  assertEquals(found.differing, [{ firstBlock: BLOCKS - 1, blocks: 1 }]);
});

Deno.test("verify goes on past blocks that the primary cannot read, and names them", async () => {
  await using world = new VerifyWorld();
  world.write(40, 4);
  await world.equal();
  for (const block of [0, 17, 18, STRETCH_BLOCKS - 1, STRETCH_BLOCKS, BLOCKS - 1]) {
    world.bad.add(block);
  }
  world.replica.published[19] = 77;
  const verifying = world.verify();
  const writes = await writeUntil(world, verifying);
  const found = await verifying;
  assertEquals(found.unreadable, [
    { firstBlock: 0, blocks: 1 },
    { firstBlock: 17, blocks: 2 },
    { firstBlock: STRETCH_BLOCKS - 1, blocks: 2 },
    { firstBlock: BLOCKS - 1, blocks: 1 },
  ]);
  assertEquals([found.comparedBlocks, found.isComplete], [BLOCKS, true]);
  assert(writes > 50, `${writes} writes went on meanwhile`);
  assert(new IntervalLock(world.views).tryLock(0, BLOCKS), "no lock stays");
  new IntervalLock(world.views).unlock(0, BLOCKS);
});

Deno.test("verify finds what differs beside what the primary cannot read", async () => {
  await using world = new VerifyWorld();
  world.write(5, 5);
  await world.equal();
  world.bad.add(100);
  for (const block of [99, 100, 101]) world.replica.published[block] = 77;
  const found = await world.verify();
  assertEquals(found.unreadable, [{ firstBlock: 100, blocks: 1 }]);
  assertEquals(found.differing, [{ firstBlock: 99, blocks: 1 }, { firstBlock: 101, blocks: 1 }]);
  await world.repair(found);
  assertEquals((await world.verify()).differing, [], "what can be read is copied");
});

Deno.test("verify tries blocks that are known as unreadable alone", async () => {
  await using world = new VerifyWorld();
  world.aside = [{ first: 3, count: 1 }, { first: 5, count: 2 }];
  for (const block of [3, 5]) world.bad.add(block);
  world.replica.published[6] = 77;
  const found = await world.verify();
  assertEquals(found.unreadable, [{ firstBlock: 3, blocks: 1 }, { firstBlock: 5, blocks: 1 }]);
  assertEquals(found.differing, [{ firstBlock: 6, blocks: 1 }], "which can be read by now");
  assertEquals(
    world.failedReads,
    found.unreadable,
    "nothing else was spoiled, nothing tried twice",
  );
});

Deno.test("verify does not tell of a block that goes bad between its reads that it differs", async () => {
  await using world = new VerifyWorld();
  world.replica.published[9] = 77;
  world.onOpen = () => world.bad.add(9);
  const found = await world.verify();
  assertEquals([found.differing, found.busyBlocks], [[], 0]);
  assertEquals(found.unreadable, [{ firstBlock: 9, blocks: 1 }]);
});

Deno.test("verify gives up on a drive that reads nothing", async () => {
  const batchBlocks = (64 << 20) / UNIT;
  let reads = 0;
  const verify = new Verify({
    unitBytes: UNIT,
    deviceBlocks: 1000 * batchBlocks,
    primary: {
      read(_, wanted) {
        reads++;
        return Promise.resolve(wanted.map(() => null));
      },
    },
    unreadable: () => [],
    openReplica: () => Promise.resolve({ cno: 1, read: () => Promise.reject(new Error("unread")) }),
    published: { whole: () => Promise.resolve(), now: () => Promise.resolve() },
    clock: systemClock,
    signal: new AbortController().signal,
    onProgress() {},
  });
  const found = await verify.run();
  assertEquals(found.unreadable, [{ firstBlock: 0, blocks: batchBlocks }]);
  assertEquals([found.isComplete, found.comparedBlocks, reads], [false, batchBlocks, 64]);
});

Deno.test("verify gets around a block that a write holds, and waits for it alone", async () => {
  await using world = new VerifyWorld();
  const lock = new IntervalLock(world.views);
  assert(lock.tryLock(70, 1));
  const verifying = world.verify();
  await systemClock.sleep(50);
  assert(world.write(71, 1), "its neighbours are not held back");
  lock.unlock(70, 1);
  assertEquals((await verifying).differing, []);
});

Deno.test("verify ends when it is told to, and lets go of everything", async () => {
  await using world = new VerifyWorld();
  const verifying = world.verify();
  world.abort.abort();
  await assertRejects(() => verifying, ReplicaError, "it was stopped");
  assert(new IntervalLock(world.views).tryLock(0, BLOCKS), "no lock stays");
  new IntervalLock(world.views).unlock(0, BLOCKS);
});

Deno.test("verify says why it cannot tell: paused, or a resync that does not advance", async () => {
  await using world = new VerifyWorld();
  world.replicator.pause();
  await assertRejects(() => world.verify(), ReplicaError, "replication is paused");
  const stale = new StaleMap(world.views);
  const lock = new IntervalLock(world.views);
  assert(lock.tryLock(0, 1));
  stale.mark(0, 1);
  world.replicator.resume();
  await assertRejects(
    () => world.verify({ stallMs: 50 }),
    ReplicaError,
    "a resync is under way, and does not advance",
  );
  lock.unlock(0, 1);
  assertEquals((await world.verify()).differing, []);
});
