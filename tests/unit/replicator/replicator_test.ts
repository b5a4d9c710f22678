import { assert, assertEquals } from "../../support/assert.ts";
import { READABLE } from "../../support/readable.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import type { CheckpointBatch } from "../../../src/format/checkpoint_batch.ts";
import type { CommitReceipt } from "../../../src/replicator/committer.ts";
import { Replicator } from "../../../src/replicator/replicator.ts";
import type {
  ReplicatorEvent,
  ReplicatorOptions,
} from "../../../src/replicator/replicator_options.ts";
import { ResyncPace } from "../../../src/replication/resync_pace.ts";
import { ReplicatorBell } from "../../../src/shared/bell.ts";
import { isCapturing } from "../../../src/shared/capture_mode.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../../src/shared/counters.ts";
import { allocateShared, sharedLayout, sharedViews, WORD } from "../../../src/shared/layout.ts";
import { ENTRY_DATA, ENTRY_ZERO, Pool } from "../../../src/shared/pool.ts";
import { ringIfAsleep } from "../../../src/shared/bell.ts";

const UNIT = 4096;

/** A replica in memory that fails when it is told to. */
class MemoryWriter {
  readonly image = new Map<number, number>();
  readonly checkpoints: Map<number, number>[] = [];
  failures: ReplicaError[] = [];
  delayMs = 0;

  async commit(batch: CheckpointBatch): Promise<CommitReceipt> {
    await systemClock.sleep(this.delayMs);
    const failure = this.failures.shift();
    if (failure) throw failure;
    for (const { startBlock, blockCount } of batch.zeroRanges) {
      for (let k = 0; k < blockCount; k++) this.image.delete(startBlock + k);
    }
    for (let i = 0; i < batch.blockCount; i++) {
      const bytes = batch.blockBytes(i);
      assertEquals(bytes.length, UNIT);
      this.image.set(batch.blockIndex(i), bytes[0]);
    }
    this.checkpoints.push(new Map(this.image));
    return { cno: this.checkpoints.length, segmentBytes: 1, putCount: 2 };
  }
}

type Surroundings = Pick<ReplicatorOptions, "claim" | "clock" | "bell">;

function newDevice(
  poolUnits = 64,
  { claim = null, clock = systemClock, bell }: Partial<Surroundings> = {},
) {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 2 * UNIT,
    unitBytes: UNIT,
    poolBytes: poolUnits * UNIT,
    regionBytes: 16 * UNIT,
    deviceSizeBytes: 128 * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const pool = new Pool(views);
  const writer = new MemoryWriter();
  const events: ReplicatorEvent[] = [];
  const journal: string[] = [];
  let wakes = 0;
  const replicator = new Replicator({
    claim,
    views,
    writer,
    journal: {
      recordCommit: ({ cno }) => Promise.resolve(void journal.push(`commit ${cno}`)),
    },
    bell: bell ?? new ReplicatorBell(views),
    clock,
    random: () => 0,
    resync: {
      source: { readInto: () => Promise.reject(new Error("nothing is stale")) },
      allocate: (sizeBytes) => new Uint8Array(sizeBytes),
      concurrency: 1,
      pace: new ResyncPace(null),
      ...READABLE,
    },
    mode: "logging",
    limits: { maxAgeMs: 30, targetBytes: 16 * UNIT, flushIntervalMs: 10 },
    batchBlocks: 32,
    wakeQueues: () => wakes++,
    setNice: () => {},
    onEvent: (event) => events.push(event),
  });

  function write(block: number, value: number): boolean {
    if (!pool.reserve(1)) return false;
    const source = layout.tagBuffersOffset;
    views.memory.fill(value, source, source + UNIT);
    pool.fill(pool.reservedAt, source, UNIT);
    pool.publish(pool.reservedAt, ENTRY_DATA, block, 1);
    ringIfAsleep(views.words);
    return true;
  }

  function zero(block: number, count: number): void {
    assert(pool.reserve(1));
    pool.publish(pool.reservedAt, ENTRY_ZERO, block, count);
    ringIfAsleep(views.words);
  }

  return { views, pool, writer, replicator, events, journal, write, zero, wakes: () => wakes };
}

Deno.test("Replicator commits what is written within its age and drains at stop", async () => {
  const device = newDevice();
  const running = device.replicator.run();
  device.write(1, 10);
  device.write(2, 20);
  device.write(1, 11);
  await systemClock.sleep(150);
  assertEquals(device.writer.checkpoints, [new Map([[1, 11], [2, 20]])]);
  assertEquals(device.pool.usedUnits(), 0);
  device.zero(0, 2);
  device.write(3, 30);
  device.write(4, 0);
  device.replicator.stop();
  await running;
  assertEquals(device.writer.checkpoints.at(-1), new Map([[2, 20], [3, 30], [4, 0]]));
  assertEquals(device.journal, ["commit 1", "commit 2"]);
  const row = device.views.counters.subarray(replicatorCounters(device.views));
  assertEquals(row[REPLICATOR_COUNTER.committedOperations], 6);
  assertEquals(device.replicator.state, "stopped");
});

Deno.test("Replicator records no checkpoint when a commit changed nothing", async () => {
  const device = newDevice();
  device.writer.commit = () => Promise.resolve({ cno: 0, segmentBytes: 0, putCount: 0 });
  const running = device.replicator.run();
  device.zero(0, 5);
  device.replicator.stop();
  await running;
  assertEquals(device.journal, []);
  assertEquals(device.pool.usedUnits(), 0);
});

Deno.test("Replicator that is idle for half a minute learns that its replica was taken over", async () => {
  const clock = new FakeClock();
  const fenced = new ReplicaError("fenced", "Cannot write any more: another writer took it over");
  let looks = 0;
  let taken = false;
  const device = newDevice(64, {
    clock,
    bell: {
      async wait({ timeoutMs }) {
        await clock.sleep(timeoutMs);
      },
    },
    claim: {
      everyMs: 30_000,
      requireHeld() {
        looks++;
        return taken ? Promise.reject(fenced) : Promise.resolve();
      },
      onTrouble: () => assert(false, "every look has an answer"),
    },
  });
  const running = device.replicator.run();
  const until = async (met: () => boolean) => {
    while (!met()) await new Promise((resolve) => setTimeout(resolve, 0));
  };
  await until(() => clock.nowMs() >= 100_000);
  assertEquals([looks, device.events], [3, []]);
  taken = true;
  await until(() => device.replicator.state === "detached");
  assertEquals(looks, 4, "the next look shows it");
  assertEquals(device.events, [{ state: "detached", mode: "detached", error: fenced }]);
  assert(!isCapturing(device.views.words), "writes only mark what they change");
  device.replicator.stop();
  await running;
  assertEquals(looks, 4);
});

Deno.test("Replicator commits no gap: an unpublished entry holds back the later ones", async () => {
  const device = newDevice();
  const running = device.replicator.run();
  assert(device.pool.reserve(1));
  const hole = device.pool.reservedAt;
  device.write(7, 70);
  await systemClock.sleep(120);
  assertEquals(device.writer.checkpoints, []);
  device.pool.publish(hole, ENTRY_ZERO, 7, 1);
  await systemClock.sleep(120);
  assertEquals(device.writer.checkpoints, [new Map([[7, 70]])]);
  device.replicator.stop();
  await running;
});

Deno.test("Replicator keeps everything over errors of the store and says so", async () => {
  const device = newDevice();
  const error = new ReplicaError("unavailable", "Cannot store: no route");
  device.writer.failures = [error, error];
  const running = device.replicator.run();
  for (let i = 0; i < 40; i++) device.write(i, i + 1);
  device.replicator.stop();
  await running;
  assertEquals(device.writer.image.size, 40);
  assertEquals(device.events.map((event) => event.state), [
    "retrying",
    "retrying",
    "replicating",
    "stopped",
  ]);
});

Deno.test("Replicator wakes queues that wait for the pool", async () => {
  const device = newDevice(16);
  device.writer.delayMs = 20;
  const running = device.replicator.run();
  let written = 0;
  while (device.write(written, 1)) written++;
  assertEquals(written, 16);
  Atomics.add(device.views.words, WORD.poolWaiters, 1);
  await systemClock.sleep(200);
  assert(device.wakes() > 0);
  assert(device.write(99, 1));
  Atomics.sub(device.views.words, WORD.poolWaiters, 1);
  device.replicator.stop();
  await running;
});

Deno.test("Replicator detaches for good when another writer is there", async () => {
  const device = newDevice();
  device.writer.failures = [new ReplicaError("fenced", "Cannot commit: foreign writer")];
  const running = device.replicator.run();
  device.write(1, 1);
  await systemClock.sleep(150);
  assertEquals(device.journal, []);
  assert(!isCapturing(device.views.words));
  assertEquals(device.pool.usedUnits(), 0);
  assertEquals(device.replicator.state, "detached");
  device.replicator.stop();
  await running;
  assertEquals(device.writer.checkpoints, []);
});

Deno.test("Replicator.abandon() ends it while the store is away", async () => {
  const device = newDevice();
  const error = new ReplicaError("unavailable", "Cannot store: no route");
  device.writer.failures = Array(1000).fill(error);
  const running = device.replicator.run();
  device.write(1, 1);
  device.replicator.stop();
  await systemClock.sleep(100);
  device.replicator.abandon();
  await running;
  assertEquals(device.writer.checkpoints, []);
  assertEquals(device.pool.usedUnits(), 1);
});

Deno.test("Replicator says once that the store fails, and once that it works", async () => {
  const device = newDevice();
  const running = device.replicator.run();
  device.replicator.storeWorks();
  device.replicator.storeFails(new ReplicaError("unavailable", "Cannot store: no space left"));
  assertEquals(device.replicator.state, "retrying");
  device.replicator.storeWorks();
  device.replicator.storeWorks();
  device.replicator.stop();
  await running;
  const said = device.events.map(({ state, error }) => [state, error?.message]);
  assertEquals(said, [
    ["retrying", "Cannot store: no space left"],
    ["replicating", undefined],
    ["stopped", undefined],
  ]);
});

// A request that fails twice and whose third answer is lost is never repeated: what became of it is found
// out by reading. The state stayed "retrying" although everything was on the replica.
Deno.test("Replicator says that the store works once a commit is done, however that was found out", async () => {
  const device = newDevice();
  const running = device.replicator.run();
  device.replicator.storeFails(new ReplicaError("unavailable", "Cannot store: no route"));
  device.write(1, 10);
  await systemClock.sleep(100);
  assertEquals(device.writer.checkpoints.length, 1);
  assertEquals(device.replicator.state, "replicating");
  device.replicator.stop();
  await running;
});
