// Blocks that the primary can't read, as resync meets them.

import { FakeClock } from "../../support/fake_clock.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { BLOCKS, newResyncDevice, until } from "../../support/resync_device.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { UnreadableBlocks } from "../../../src/replicator/unreadable_blocks.ts";

Deno.test("blocks that can't be read are put aside, all others are copied; and they once they can be", async () => {
  const device = newResyncDevice("forward-part");
  const { drive } = device;
  device.primary.fill(9);
  drive.unreadable.add(40).add(41);
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => replicator.mode === "logging");
  const expected = device.primary.slice();
  expected.fill(0, 40, 42);
  assertEquals(device.replica.image, expected);
  assertEquals(drive.told.splice(0), ["name 40", "aside 40", "name 41", "aside 41"]);
  assertEquals(device.asideBlocks(), 2);
  assertEquals([...replicator.unsettled()].map(({ first }) => first), [40, 41]);
  drive.unreadable.delete(41);
  await until(() => device.asideBlocks() === 1 && replicator.mode === "logging");
  await until(() => device.history.isWhole());
  expected.fill(9, 41, 42);
  assertEquals(device.replica.published.at(-1), expected);
  assertEquals(drive.told.splice(0), ["readable 1"]);
  drive.unreadable.clear();
  await until(() => device.asideBlocks() === 0 && device.history.isWhole());
  await until(() => replicator.mode === "logging");
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
  assertEquals([...replicator.unsettled()], []);
});

Deno.test("a stop looks once more: what can be read by then is copied, and the stop a clean one", async () => {
  const device = newResyncDevice("forward-part");
  const { drive } = device;
  device.primary.fill(9);
  drive.unreadable.add(40).add(77);
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => replicator.mode === "logging" && device.asideBlocks() === 2);
  // Written anew by the guest, one sector is mended by the drive, the other is readable by itself.
  drive.unreadable.clear();
  await until(() => device.write(40, 77));
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
  assertEquals([replicator.state, device.asideBlocks()], ["stopped", 0]);
});

Deno.test("a drive that takes long to say that it can't read is left alone most of the time", async () => {
  const clock = new FakeClock();
  const readMs = 7_000;
  let readingMs = 0;
  const looks = new Set<number>();
  const blocks = new UnreadableBlocks({
    views: newResyncDevice().views,
    source: {
      readInto(offsetBytes) {
        looks.add(offsetBytes);
        readingMs += readMs;
        clock.advance(readMs);
        return Promise.reject(new ReplicaError("kernel", "Cannot read"));
      },
    },
    allocate: (sizeBytes) => new Uint8Array(sizeBytes),
    clock,
    nameRegion: () => Promise.resolve(),
    onUnreadable() {},
    onReadable() {},
  });
  for (let block = 0; block < 20; block++) {
    for (let n = 0; n < 3; n++) {
      await blocks.failed(block, new ReplicaError("kernel", "Cannot read"));
    }
  }
  const sinceMs = clock.nowMs();
  while (clock.nowMs() - sinceMs < 8 * 3600_000) {
    blocks.pump();
    await clock.sleep(30_000);
  }
  await blocks.stop();
  assert(readingMs / (clock.nowMs() - sinceMs) < 0.05, `${readingMs / 1000} s of eight hours`);
  assertEquals(looks.size, 20, "each has its turn");
});

Deno.test("a block that can't be read is stale for as long as its region can't be named", async () => {
  const device = newResyncDevice("forward-part");
  const { drive } = device;
  device.primary.fill(9);
  drive.unreadable.add(3);
  drive.mapFailure = new ReplicaError("kernel", "Cannot write the dirty map");
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => device.stale.count() === 1 && device.pool.usedUnits() === 0);
  await systemClock.sleep(2500);
  assertEquals([device.stale.count(), drive.told, device.asideBlocks()], [1, [], 0]);
  assertEquals(device.replica.published, []);
  drive.mapFailure = null;
  await until(() => replicator.mode === "logging");
  assertEquals([drive.told, device.asideBlocks()], [["name 3", "aside 3"], 1]);
  replicator.stop();
  await running;
  assertEquals(device.asideBlocks(), 1, "what a stop has to know");
});

Deno.test("a copy of the whole device takes what was put aside along", async () => {
  // So late that the copy comes first, however busy the machine.
  const device = newResyncDevice("forward-part", 60_000);
  const { drive } = device;
  device.primary.fill(9);
  drive.unreadable.add(255);
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => replicator.mode === "logging");
  drive.unreadable.clear();
  drive.told.splice(0);
  replicator.resyncAll();
  await until(() => replicator.mode === "logging" && device.history.isWhole());
  replicator.stop();
  await running;
  assertEquals(device.replica.published.at(-1), device.primary);
  assertEquals([drive.told, device.asideBlocks()], [[], 0]);
});
