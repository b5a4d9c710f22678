import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { withPreemption } from "../../support/preemption.ts";
import { BLOCKS, newResyncDevice, UNIT, until } from "../../support/resync_device.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { lagReport } from "../../../src/control/replica_report.ts";

/** A device whose replica takes nothing until `open`, after more writes than its pool holds: 64 fit. */
function overflowed() {
  const device = newResyncDevice();
  const open = Promise.withResolvers<void>();
  device.replica.gate = open.promise;
  const replicator = device.newReplicator();
  const running = replicator.run();
  for (let block = 0; block < 200; block++) assert(device.write(block, block + 1));
  return { device, open, replicator, running };
}

Deno.test("a full pool costs no write, and ends with an equal replica", async () => {
  const { device, open, replicator, running } = overflowed();
  assert(!device.history.isWhole());
  assert(device.stale.count() > 0);
  const atBoundary = device.primary.slice();
  atBoundary.fill(0, 64);
  open.resolve();
  await until(() => replicator.mode === "logging" && device.history.isWhole());
  assertEquals(device.replica.published.at(-1), device.primary);
  assert(
    device.replica.published.some((image) => image.every((value, i) => value === atBoundary[i])),
    "what the pool held is published as it was",
  );
  device.write(7, 99);
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
  const modes = device.events.map(({ mode }) => mode);
  assertEquals([...new Set(modes)], ["forward-part", "logging"]);
});

Deno.test("a resync ends while writes go on that the replica can bear, and does not come back", async () => {
  const { device, open, replicator, running } = overflowed();
  assert(!device.history.isWhole());
  open.resolve();
  let writes = 0;
  const goOn = async () => {
    device.write((writes * 37) % BLOCKS, 1 + writes % 255);
    writes++;
    await systemClock.sleep(2);
  };
  const sinceMs = performance.now();
  while (replicator.mode !== "logging" || !device.history.isWhole()) {
    assert(performance.now() - sinceMs < 20_000, "it never ends under load");
    await goOn();
  }
  const ended = device.events.length;
  for (let n = 0; n < 200; n++) await goOn();
  assertEquals(device.events.slice(ended).map(({ mode }) => mode), [], "the mode stays");
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
});

Deno.test("the lag is that of the published state, through a resync and after it", async () => {
  const { device, open, replicator, running } = overflowed();
  const lag = () => lagReport(device.views, device.pool.usedUnits() * UNIT, systemClock.wallMs());
  await until(() => lag().seconds > 0.1);
  assertEquals([lag().operations, lag().bytes], [64, 64 * UNIT]);
  open.resolve();
  await until(() => device.replica.stagedCommits > 0);
  const copying = Promise.withResolvers<void>();
  device.replica.gate = copying.promise;
  await until(() => device.pool.usedUnits() === 0 || device.stale.count() === 0);
  assert(lag().seconds > 0.1, "what is staged is not published");
  copying.resolve();
  await until(() => replicator.mode === "logging" && device.history.isWhole());
  await until(() => lag().seconds === 0);
  assertEquals(lag(), { bytes: 0, operations: 0, seconds: 0 });
  const closed = Promise.withResolvers<void>();
  device.replica.gate = closed.promise;
  device.write(3, 77);
  await until(() => lag().seconds > 0);
  assertEquals([lag().operations, lag().bytes], [1, UNIT]);
  closed.resolve();
  replicator.stop();
  await running;
});

Deno.test("every published image is one that the primary had, while it is written and resynced", async () => {
  const device = newResyncDevice();
  const replicator = device.newReplicator();
  const running = replicator.run();
  // A write's value is its number: an image is a prefix when its values are the newest up to some number.
  const writes: number[] = [];
  for (let number = 1; number <= 255; number++) {
    const block = (number * 37) % BLOCKS;
    while (!device.write(block, number)) await systemClock.sleep(1);
    writes.push(block);
    if (number % 50 === 0) await systemClock.sleep(15);
  }
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
  for (const image of device.replica.published) {
    const newest = image.reduce((most, value) => Math.max(most, value), 0);
    const expected = new Uint8Array(BLOCKS);
    for (let number = 1; number <= newest; number++) expected[writes[number - 1]] = number;
    assertEquals(image, expected, `prefix of ${newest} writes`);
  }
});

Deno.test("a start in forward part copies what is stale, and publishes once it is done", async () => {
  const device = newResyncDevice("forward-part");
  device.primary.fill(5, 20, 90);
  device.primary.fill(6, 200, 256);
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => replicator.mode === "logging");
  assertEquals(device.replica.published, [device.primary]);
  assert(device.replica.stagedCommits > 0);
  replicator.stop();
  await running;
  assertEquals(replicator.state, "stopped");
});

Deno.test("paused, writes only mark their chunks; resuming copies them", async () => {
  const device = newResyncDevice();
  const replicator = device.newReplicator();
  const running = replicator.run();
  device.write(1, 1);
  replicator.pause();
  for (let block = 0; block < 100; block++) device.write(block, 7);
  await systemClock.sleep(60);
  assertEquals(replicator.mode, "paused");
  assertEquals(device.replica.image[1], 1, "what came before the pause is published");
  assertEquals(device.replica.published.length, 1);
  replicator.resume();
  await until(() => replicator.mode === "logging");
  assertEquals(device.replica.published.at(-1), device.primary);
  replicator.resyncAll();
  await until(() => replicator.mode === "logging" && device.history.isWhole());
  assertEquals(device.replica.published.at(-1), device.primary);
  replicator.stop();
  await running;
});

Deno.test("stopped while paused, the replicator says that not all is on the replica", async () => {
  const device = newResyncDevice();
  const replicator = device.newReplicator();
  const running = replicator.run();
  replicator.pause();
  device.write(3, 3);
  replicator.stop();
  await running;
  assertEquals(replicator.state, "replicating");
  assert(device.stale.count() > 0);
});

Deno.test("detached, everything that did not get to the replica is stale", async () => {
  const device = newResyncDevice();
  device.replica.failure = new ReplicaError("fenced", "Cannot commit: foreign writer");
  const replicator = device.newReplicator();
  const running = replicator.run();
  device.write(1, 1);
  await until(() => replicator.mode === "detached");
  device.write(100, 1);
  assert(device.stale.overlaps(1, 1) && device.stale.overlaps(100, 1));
  assertEquals(device.pool.usedUnits(), 0);
  replicator.stop();
  await running;
});

Deno.test("a replicator that breaks while it copies holds no write back", async () => {
  const device = newResyncDevice("forward-part");
  device.stale.mark(0, BLOCKS / 2);
  device.replica.failure = new TypeError("a bug");
  device.drive.readMs = 2000;
  const running = device.newReplicator().run();
  assert(device.write(BLOCKS - 1, 1), "what is not stale is committed while copies are read");
  await assertRejects(() => running, TypeError, "a bug");
  for (let block = 0; block < BLOCKS; block++) assert(device.write(block, 1), `block ${block}`);
});

/** Of the writes of 1, 2 and 3 to the blocks of these numbers. */
function isPrefix(image: Uint8Array): boolean {
  const [one, two, three] = [1, 2, 3].map((block) => image[block] === block);
  return (!two || one) && (!three || two);
}

/**
 * Publishes a write, and before the replicator's atomic operation of this number a queue has one that it
 * can't capture, and then one that it can. False: it was all published before that.
 */
async function publishPreempted(at: number): Promise<boolean> {
  const device = newResyncDevice();
  const { replica, history } = device;
  const replicator = device.newReplicator();
  const running = replicator.run();
  const meanwhile = () => {
    device.primary[2] = 2;
    device.stale.mark(2, 1);
    history.endAtHead();
    device.write(3, 3);
  };
  let operation = -1;
  let isPreempted = false;
  const hook = () => {
    if (operation < 0 || isPreempted || replica.published.length > 0 || operation++ !== at) return;
    isPreempted = true;
    meanwhile();
  };
  await withPreemption(hook, async () => {
    device.write(1, 1);
    operation = 0;
    await until(() => replica.published.length > 0);
  });
  if (!isPreempted) meanwhile();
  await until(() => replicator.mode === "logging" && history.isWhole());
  replicator.stop();
  await running;
  assert(replica.published.every(isPrefix), `preempted before operation ${at}`);
  assertEquals(replica.published.at(-1), device.primary);
  return isPreempted;
}

Deno.test("what was issued behind an end of the history is not published, at whatever moment it ends", async () => {
  let at = 0;
  while (await publishPreempted(at)) at++;
  assert(at > 20);
});
