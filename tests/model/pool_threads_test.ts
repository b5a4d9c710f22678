// The pool and the interval lock between real threads: producers write overlapping ranges to a
// "primary" as queues do, the consumer replays the pool in ring order. In the end both must be equal:
// without the lock, or with positions taken outside it, they differ.

import { assert, assertEquals } from "../support/assert.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../src/shared/layout.ts";
import type { SharedLayout } from "../../src/shared/layout.ts";
import { ENTRY_EMPTY, Pool } from "../../src/shared/pool.ts";
import { ReplicatorBell } from "../../src/shared/bell.ts";
import { seedOf } from "../support/prng.ts";

export interface ProducerStart {
  readonly buffer: SharedArrayBuffer;
  readonly layout: SharedLayout;
  readonly primary: Int32Array;
  readonly seed: number;
  readonly writes: number;
  readonly id: number;
}

const PRODUCERS = 3;
const WRITES = 30_000;

Deno.test("Pool and IntervalLock keep the replica equal to the primary under racing queues", async () => {
  const seed = seedOf("pool_threads");
  const layout = sharedLayout({
    queues: PRODUCERS,
    depth: 1,
    ioBufBytes: 8 * 4096,
    unitBytes: 4096,
    poolBytes: 64 * 4096,
    regionBytes: 4096,
    deviceSizeBytes: 4096,
  });
  const buffer = allocateShared(layout);
  const views = sharedViews(buffer, layout);
  const pool = new Pool(views);
  const primary = new Int32Array(new SharedArrayBuffer(4 * 64));
  const replica = new Int32Array(primary.length);
  const data = new Int32Array(buffer);

  let running = PRODUCERS;
  const workers = Array.from({ length: PRODUCERS }, (_, id) => {
    const url = new URL("./pool_threads_worker.ts", import.meta.url);
    const worker = new Worker(url, { type: "module" });
    worker.onmessage = () => running--;
    const start: ProducerStart = { buffer, layout, primary, seed: seed + id, writes: WRITES, id };
    worker.postMessage(start);
    return worker;
  });

  const bell = new ReplicatorBell(views);
  let position = pool.tail();
  let entries = 0;
  while (running > 0 || pool.stateAt(position) !== ENTRY_EMPTY) {
    await bell.wait({
      timeoutMs: 50,
      idle: true,
      hasWork: () => pool.stateAt(position) !== ENTRY_EMPTY,
    });
    while (pool.stateAt(position) !== ENTRY_EMPTY) {
      const start = pool.startBlockAt(position);
      const count = pool.blockCountAt(position);
      for (let k = 0; k < count; k++) {
        replica[start + k] = data[pool.unitOffset(pool.advance(position, k)) / 4];
      }
      pool.clear(position);
      position = pool.advance(position, count);
      entries++;
    }
    pool.release(position);
  }
  for (const worker of workers) worker.terminate();
  assertEquals(entries, PRODUCERS * WRITES);
  assertEquals(pool.usedUnits(), 0);
  assertEquals([...replica], [...primary]);
  assert(views.locks.every((word) => word === 0), "every lock was released");
});
