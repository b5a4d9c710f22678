// The target with its replicator's worker, a primary in a file and a replica in a directory: orders and
// comparisons through the threads. Without ublk, so no queue writes.

import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { armFailpoints } from "../../../src/base/failpoints.ts";
import { BlockDevice } from "../../../src/primary/block_device.ts";
import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../../src/shared/counters.ts";
import { noteFailedFlush } from "../../../src/shared/failed_flush.ts";
import { IntentMap } from "../../../src/shared/intent_map.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { KiB, MiB } from "../../../src/base/units.ts";
import { deviceConfig } from "../../../src/config.ts";
import { ReplicaTarget } from "../../../src/target/replica_target.ts";

const DATA_BYTES = 8 * MiB;
const DEVICE_BYTES = 64 * MiB;

/** A formatted primary with data, and its started target. */
class Started implements AsyncDisposable {
  readonly world = new CliWorld();
  readonly data = new Uint8Array(DATA_BYTES);
  replica = "";
  #uuid = "";
  #target: ReplicaTarget | null = null;

  get target(): ReplicaTarget {
    assert(this.#target !== null);
    return this.#target;
  }

  async start(wishes: { resyncBytesPerSecond?: number } = {}): Promise<void> {
    const { world, data } = this;
    const path = `${world.directory}/primary`;
    for (let at = 0; at < data.length; at += 64 * KiB) {
      crypto.getRandomValues(data.subarray(at, at + 64 * KiB));
    }
    Deno.writeFileSync(path, data);
    Deno.truncateSync(path, DEVICE_BYTES + MiB);
    const root = `file://${world.directory}/replica`;
    const formatted = await world.run(
      ...["format", "-f", path, "--replica", root, "--json", "--device-size", String(DEVICE_BYTES)],
      ...["--log-level", "error"],
    );
    this.#uuid = JSON.parse(formatted.stdout).uuid;
    this.replica = `${world.directory}/replica/${this.#uuid}`;
    await this.startAgain(wishes);
  }

  /** On the same primary, after the last target was closed. */
  async startAgain(wishes: { resyncBytesPerSecond?: number } = {}): Promise<void> {
    const config = deviceConfig({
      number: -1,
      queues: 1,
      depth: 1,
      bufferBytes: 64 * KiB,
      readOnly: false,
      unixSocket: "socket",
      log: { level: "error", format: "text", file: null },
      target: {
        type: "io-replica",
        path: `${this.world.directory}/primary`,
        bufferedIo: true,
        replicaUri: `file://${this.replica}`,
        s3: {},
        uuid: this.#uuid,
        poolBytes: 32 * MiB,
        ...wishes,
      },
    });
    assert(config.target.type === "io-replica");
    const signal = new AbortController().signal;
    this.#target = await ReplicaTarget.open(config, config.target, { signal });
    await this.#target.start({ deviceId: 0, queues: 1, depth: 1, doorbellFds: [] });
  }

  /** What the superblock says of the primary, which nobody has open. */
  async primaryState(): Promise<string> {
    const disk = await BlockDevice.open(`${this.world.directory}/primary`, {
      access: "read",
      buffered: true,
    });
    try {
      return (await PrimaryMetadata.load(disk)).superblock.state;
    } finally {
      disk.close();
    }
  }

  /** The whole device is copied. */
  async logging(): Promise<void> {
    for (let i = 0; this.target.state.mode !== "logging"; i++) {
      assert(i < 1000, `the mode stays ${this.target.state.mode}`);
      await systemClock.sleep(10);
    }
  }

  async verify({ repair = false, signal = new AbortController().signal } = {}) {
    return await this.target.verify({ repair, signal, onProgress() {} });
  }

  /** Changes a byte of the block in the segment that has it, as a store might. */
  corrupt(block: number): void {
    const wanted = this.data.subarray(block * 4096, (block + 1) * 4096);
    let found = 0;
    for (const { name, isFile } of Deno.readDirSync(this.replica)) {
      if (!isFile) continue;
      const path = `${this.replica}/${name}`;
      const bytes = Deno.readFileSync(path);
      for (let at = 0; at + 4096 <= bytes.length; at += 512) {
        if (bytes[at] !== wanted[0] || wanted.some((value, i) => bytes[at + i] !== value)) continue;
        bytes[at + 9] ^= 1;
        Deno.writeFileSync(path, bytes);
        found++;
      }
    }
    assertEquals(found, 1, `block ${block} is in one segment`);
  }

  async close(): Promise<void> {
    const target = this.#target;
    this.#target = null;
    await target?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    this.world[Symbol.dispose]();
  }
}

Deno.test("a comparison through the worker finds and repairs what a store changed", async () => {
  await using started = new Started();
  await started.start();
  await started.logging();
  const equal = await started.verify();
  assertEquals([equal.comparedBytes, equal.differing, equal.isComplete], [DEVICE_BYTES, [], true]);
  started.corrupt(7);
  started.corrupt(1500);
  const differing = [7, 1500].map((block) => ({ offsetBytes: block * 4096, lengthBytes: 4096 }));
  assertEquals((await started.verify()).differing, differing);
  assertEquals((await started.verify({ repair: true })).differing, differing);
  assertEquals((await started.verify()).differing, []);
  await started.target.drain({ served: true });
});

Deno.test("orders change the mode through the worker, and say when they are carried out", async () => {
  await using started = new Started();
  await started.start();
  await started.logging();
  assertEquals(await started.target.order("pause"), "paused");
  assertEquals(started.target.state.mode, "paused", "the state is told before the answer");
  await assertRejects(() => started.verify(), ReplicaError, "replication is paused");
  assertEquals(await started.target.order("resume"), "forward-part");
  await started.logging();
  assertEquals(await started.target.order("resync-all"), "forward-full");
  await started.logging();
  assertEquals((await started.verify()).differing, []);
  await started.target.drain({ served: true });
  await assertRejects(() => started.target.order("pause"), ReplicaError, "replication has ended");
});

Deno.test("a comparison ends when nobody waits for it, and when the device stops", async () => {
  await using started = new Started();
  await started.start();
  await started.logging();
  const leaving = new AbortController();
  const left = started.verify({ signal: leaving.signal });
  await assertRejects(() => started.verify(), ReplicaError, "another comparison is under way");
  leaving.abort();
  await assertRejects(() => left, ReplicaError, "it was stopped");
  const stopped = assertRejects(() => started.verify(), ReplicaError, "the device stops");
  await started.target.drain({ served: true });
  await stopped;
});

Deno.test("a start that fails once the replica is attached ends at once, and is not a clean stop", async () => {
  await using started = new Started();
  armFailpoints((name) => {
    if (name !== "start.before-active") return;
    return Promise.reject(new ReplicaError("kernel", "Cannot write the superblock"));
  });
  try {
    await assertRejects(() => started.start(), ReplicaError, "Cannot write the superblock");
  } finally {
    armFailpoints(null);
  }
  await started.close();
  assertEquals(await started.primaryState(), "formatted");
  await started.startAgain();
  await started.logging();
  await started.target.drain({ served: true });
});

Deno.test("a device that never served does not wait for the copy that it began", async () => {
  await using started = new Started();
  await started.start({ resyncBytesPerSecond: 128 * KiB });
  const sinceMs = performance.now();
  await started.target.drain({ served: false });
  assert(performance.now() - sinceMs < 20_000, "the whole copy would take a minute");
  await started.close();
  assertEquals(await started.primaryState(), "formatted");
  await started.startAgain();
  await started.logging();
  assertEquals((await started.verify()).differing, []);
  await started.target.drain({ served: false });
  await started.close();
  assertEquals(await started.primaryState(), "clean", "with everything on the replica it is");
});

Deno.test("a stop is not clean while blocks are stale or can't be read, a queue left writes, or a flush failed", async () => {
  await using started = new Started();
  await started.start();
  await started.logging();
  const { views } = started.target;
  assert(views !== null);
  const column = replicatorCounters(views) + REPLICATOR_COUNTER.unreadableBlocks;
  views.counters[column] = 3;
  const map = new IntentMap(views);
  const parity = map.enter(0);
  const drain = () => started.target.drain({ served: true });
  await assertRejects(drain, ReplicaError, "a queue that broke left writes unfinished");
  map.leave(0, parity);
  const stale = new StaleMap(views);
  stale.mark(0, 1);
  await assertRejects(drain, ReplicaError, "some of its blocks were to be copied");
  stale.take(0, 1);
  stale.settle(1);
  await assertRejects(drain, ReplicaError, "3 of its blocks could not be read");
  views.counters[column] = 0;
  noteFailedFlush(views.words);
  await assertRejects(drain, ReplicaError, "a flush of it failed");
  await started.close();
  assertEquals(await started.primaryState(), "active");
  await started.startAgain();
  await started.logging();
  await started.target.drain({ served: true });
  await started.close();
  assertEquals(await started.primaryState(), "clean");
});
