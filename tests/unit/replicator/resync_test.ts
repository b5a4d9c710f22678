// The real Replicator, ring, capture and resync over a primary and a replica in memory.

import { assert, assertEquals } from "../../support/assert.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import type { CheckpointBatch } from "../../../src/format/checkpoint_batch.ts";
import { lagReport } from "../../../src/control/replica_report.ts";
import { Capture } from "../../../src/queue/capture.ts";
import { ResyncPace } from "../../../src/replication/resync_pace.ts";
import type { CommitReceipt } from "../../../src/replicator/committer.ts";
import { Replicator } from "../../../src/replicator/replicator.ts";
import type { ResyncSource } from "../../../src/replicator/resync.ts";
import type { ReplicatorEvent } from "../../../src/replicator/replicator_options.ts";
import { ReplicatorBell, ringIfAsleep } from "../../../src/shared/bell.ts";
import { QUEUE_COUNTER, queueCounters } from "../../../src/shared/counters.ts";
import { History } from "../../../src/shared/history.ts";
import { IntervalLock } from "../../../src/shared/interval_lock.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../../src/shared/layout.ts";
import { Pool } from "../../../src/shared/pool.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";

const UNIT = 4096;
const BLOCKS = 256;

class MemoryReplica {
  readonly image = new Uint8Array(BLOCKS);
  readonly published: Uint8Array[] = [];
  stagedCommits = 0;
  failure: ReplicaError | null = null;
  gate: Promise<void> = Promise.resolve();

  async commit(batch: CheckpointBatch, publish: boolean): Promise<CommitReceipt> {
    await this.gate;
    await systemClock.sleep(1);
    if (this.failure) throw this.failure;
    for (const { startBlock, blockCount } of batch.zeroRanges) {
      this.image.fill(0, startBlock, startBlock + blockCount);
    }
    for (let i = 0; i < batch.blockCount; i++) {
      this.image[batch.blockIndex(i)] = batch.blockBytes(i)[0];
    }
    if (publish) this.published.push(this.image.slice());
    else this.stagedCommits++;
    return { cno: this.published.length, segmentBytes: 1, putCount: 2 };
  }
}

interface ReplicatorParts {
  readonly views: SharedViews;
  readonly mode: "logging" | "forward-part";
  readonly replica: MemoryReplica;
  readonly readInto: ResyncSource["readInto"];
  readonly events: ReplicatorEvent[];
  readonly skipped: number[];
}

function makeReplicator({ views, mode, replica, readInto, events, skipped }: ReplicatorParts) {
  return new Replicator({
    claim: null,
    views,
    writer: replica,
    journal: { recordCommit: () => Promise.resolve() },
    resync: {
      source: { readInto },
      allocate: (sizeBytes) => new Uint8Array(sizeBytes),
      concurrency: 2,
      pace: new ResyncPace(null),
      onUnreadable: (block) => skipped.push(block),
    },
    mode,
    bell: new ReplicatorBell(views),
    clock: systemClock,
    random: () => 0,
    limits: { maxAgeMs: 10, targetBytes: 16 * UNIT, flushIntervalMs: 10 },
    batchBlocks: 32,
    wakeQueues() {},
    setNice() {},
    onEvent: (event) => events.push(event),
  });
}

function newDevice(mode: "logging" | "forward-part" = "logging") {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 2 * UNIT,
    unitBytes: UNIT,
    poolBytes: 64 * UNIT,
    regionBytes: 16 * UNIT,
    deviceSizeBytes: BLOCKS * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const primary = new Uint8Array(BLOCKS);
  const replica = new MemoryReplica();
  const unreadable = new Set<number>();
  const stale = new StaleMap(views);
  const capture = new Capture(views, 0, false);
  const lock = new IntervalLock(views);
  const history = new History(views);
  async function readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    await systemClock.sleep(1);
    for (let k = 0; k < into.length / UNIT; k++) {
      const block = offsetBytes / UNIT + k;
      if (unreadable.has(block)) throw new ReplicaError("kernel", `Cannot read block ${block}`);
      into.fill(primary[block], k * UNIT, (k + 1) * UNIT);
    }
  }
  const events: ReplicatorEvent[] = [];
  const skipped: number[] = [];
  const newReplicator = () => makeReplicator({ views, mode, replica, readInto, events, skipped });

  /** As a queue does it; false while a copy holds the block. */
  function write(block: number, value: number): boolean {
    if (!lock.tryLock(block, 1)) return false;
    primary[block] = value;
    views.memory.fill(value, layout.tagBuffersOffset, layout.tagBuffersOffset + UNIT);
    capture.fromBuffer(0, block, 1);
    const entries = capture.place(0);
    assert(entries >= 0, "resync never makes a write wait");
    views.counters[queueCounters(0) + QUEUE_COUNTER.captured] += entries;
    lock.unlock(block, 1);
    ringIfAsleep(views.words);
    return true;
  }

  const pool = new Pool(views);
  return {
    views,
    pool,
    primary,
    replica,
    events,
    stale,
    history,
    unreadable,
    skipped,
    newReplicator,
    write,
  };
}

async function until(condition: () => boolean): Promise<void> {
  const sinceMs = performance.now();
  while (!condition()) {
    assert(performance.now() - sinceMs < 10_000, "it takes too long");
    await systemClock.sleep(2);
  }
}

Deno.test("a full pool costs no write, and ends with an equal replica", async () => {
  const device = newDevice();
  const open = Promise.withResolvers<void>();
  device.replica.gate = open.promise;
  const replicator = device.newReplicator();
  const running = replicator.run();
  // 64 blocks fit; then everything is only marked.
  for (let block = 0; block < 200; block++) assert(device.write(block, block + 1));
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

Deno.test("the lag is that of the published state, through a resync and after it", async () => {
  const device = newDevice();
  const lag = () => lagReport(device.views, device.pool.usedUnits() * UNIT, systemClock.wallMs());
  const open = Promise.withResolvers<void>();
  device.replica.gate = open.promise;
  const replicator = device.newReplicator();
  const running = replicator.run();
  for (let block = 0; block < 200; block++) assert(device.write(block, block + 1));
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
  const device = newDevice();
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
  const device = newDevice("forward-part");
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
  const device = newDevice();
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
  const device = newDevice();
  const replicator = device.newReplicator();
  const running = replicator.run();
  replicator.pause();
  device.write(3, 3);
  replicator.stop();
  await running;
  assertEquals(replicator.state, "replicating");
  assert(device.stale.count() > 0);
});

Deno.test("blocks that the primary cannot read are passed over, all others are copied", async () => {
  const device = newDevice("forward-part");
  device.primary.fill(9);
  device.unreadable.add(40).add(41);
  device.stale.mark(0, BLOCKS);
  const replicator = device.newReplicator();
  const running = replicator.run();
  await until(() => replicator.mode === "logging");
  const expected = device.primary.slice();
  expected.fill(0, 40, 42);
  assertEquals(device.replica.image, expected);
  assertEquals(device.skipped.toSorted(), [40, 41], "each is given up once");
  replicator.stop();
  await running;
});

Deno.test("detached, everything that did not get to the replica is stale", async () => {
  const device = newDevice();
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
