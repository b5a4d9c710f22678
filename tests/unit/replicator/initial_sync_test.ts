import { Buffer } from "node:buffer";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { MemoryStore } from "../../support/memory_store.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import { sparseFile, withTempDir } from "../../support/temp_disk.ts";
import { KiB, MiB } from "../../../src/base/units.ts";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { SharedArea } from "../../../ffi/memory.ts";
import { BlockDevice } from "../../../src/primary/block_device.ts";
import { DeviceData } from "../../../src/primary/device_data.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import {
  initialSync,
  type InitialSyncOptions,
  type SyncProgress,
  type SyncSource,
} from "../../../src/replicator/initial_sync.ts";

/** A device in memory; `hasHoles`: spans without data are told, as of a sparse file. */
function sourceOf(bytes: Uint8Array, hasHoles: boolean): SyncSource & { readBytes: number } {
  const GRAIN = 4 * KiB;
  function holdsData(at: number): boolean {
    return bytes.subarray(at, at + GRAIN).some((byte) => byte !== 0);
  }
  return {
    sizeBytes: bytes.length,
    readBytes: 0,
    nextData(from) {
      if (from >= bytes.length) return null;
      if (!hasHoles) return { startBytes: from, endBytes: bytes.length };
      let start = from - from % GRAIN;
      while (start < bytes.length && !holdsData(start)) start += GRAIN;
      let end = start;
      while (end < bytes.length && holdsData(end)) end += GRAIN;
      return start < bytes.length ? { startBytes: Math.max(start, from), endBytes: end } : null;
    },
    readInto(offset, into) {
      this.readBytes += into.length;
      into.set(bytes.subarray(offset, offset + into.length));
      return Promise.resolve();
    },
  };
}

const ENVIRONMENT = {
  clock: systemClock,
  random: () => 0.5,
  allocate: (sizeBytes: number) => new Uint8Array(sizeBytes),
};

async function writerOn(store: MemoryStore, dataBlockBytes: number): Promise<HyperfileWriter> {
  return await HyperfileWriter.create(store, { dataBlockBytes, createdMs: 1 });
}

async function contentOf(store: MemoryStore, sizeBytes: number): Promise<Uint8Array> {
  const reader = await HyperfileReader.open(store, {});
  const bytes = new Uint8Array(sizeBytes);
  await reader.read(0, bytes);
  assertEquals(reader.sizeBytes, sizeBytes);
  return bytes;
}

/** Random data in random places; the rest is zero. */
function randomDevice(prng: Prng, blocks: number, blockBytes: number): Uint8Array {
  const bytes = new Uint8Array(blocks * blockBytes);
  for (let n = prng.below(6); n > 0; n--) {
    const start = prng.below(bytes.length);
    prng.fill(bytes.subarray(start, start + prng.below(bytes.length / 4)));
  }
  return bytes;
}

Deno.test("initialSync() makes the replica equal to any device, in one checkpoint", async () => {
  const seed = seedOf("initialSync");
  for (let run = 0; run < 40; run++) {
    const prng = new Prng(seed + run);
    const blockBytes = prng.pick([4 * KiB, 8 * KiB, 64 * KiB]);
    const bytes = randomDevice(prng, 1 + prng.below(150), blockBytes);
    const source = sourceOf(bytes, prng.oneIn(2));
    const store = new MemoryStore();
    const writer = await writerOn(store, blockBytes);
    const batchBytes = blockBytes * (1 + prng.below(40));
    const progress: SyncProgress[] = [];
    const result = await initialSync({
      ...ENVIRONMENT,
      source,
      writer,
      batchBytes,
      onProgress: (one) => progress.push(one),
    });
    const row = `seed ${seed} run ${run}`;
    assertEquals(await contentOf(store, bytes.length), bytes, row);
    assertEquals(writer.lastCno, result.cno, row);
    assertEquals(progress.at(-1)?.doneBytes, bytes.length, row);
    assert(progress.every((one, i) => i === 0 || one.doneBytes >= progress[i - 1].doneBytes), row);
    let copied = 0;
    for (let at = 0; at < bytes.length; at += blockBytes) {
      if (bytes.subarray(at, at + blockBytes).some((byte) => byte !== 0)) copied += blockBytes;
    }
    assertEquals(result.copiedBytes, copied, row);
  }
});

Deno.test("initialSync() clears what an earlier content of the replica had", async () => {
  const store = new MemoryStore();
  const writer = await writerOn(store, 4096);
  const full = new Uint8Array(MiB).fill(1);
  await initialSync({ ...ENVIRONMENT, source: sourceOf(full, false), writer });
  const sparse = new Uint8Array(MiB);
  sparse.fill(2, 40 * KiB, 44 * KiB);
  await initialSync({ ...ENVIRONMENT, source: sourceOf(sparse, true), writer, batchBytes: 8192 });
  assertEquals(await contentOf(store, MiB), sparse);
});

Deno.test("initialSync() publishes nothing before the last commit", async () => {
  const store = new MemoryStore();
  const writer = await writerOn(store, 4096);
  const published: number[] = [];
  await initialSync({
    ...ENVIRONMENT,
    source: sourceOf(new Uint8Array(MiB).fill(1), false),
    writer,
    batchBytes: 128 * KiB,
    onProgress: () => published.push(writer.lastCno),
  });
  assertEquals(published.length, 8);
  assert(published.slice(0, -1).every((cno) => cno === 0) && published[7] > 0);
});

Deno.test("initialSync() reads no more of a sparse device than its data", async () => {
  const bytes = new Uint8Array(32 * MiB);
  bytes.fill(9, 20 * MiB, 20 * MiB + 64 * KiB);
  const source = sourceOf(bytes, true);
  await initialSync({ ...ENVIRONMENT, source, writer: await writerOn(new MemoryStore(), 4096) });
  assertEquals(source.readBytes, 64 * KiB);
});

/** A clock whose waits are over at once and are written down. */
function patientClock(): Clock & { waits: number[] } {
  const waits: number[] = [];
  return {
    ...systemClock,
    waits,
    sleep: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
  };
}

Deno.test("initialSync() waits for a store that is unavailable and loses nothing", async () => {
  const store = new MemoryStore();
  const put = store.put.bind(store);
  let failures = 0;
  store.put = (...args) => {
    if (failures++ % 3 !== 0) return put(...args);
    return Promise.reject(new ReplicaError("unavailable", "Cannot reach the store"));
  };
  failures = 1;
  const writer = await writerOn(store, 4096);
  const bytes = new Uint8Array(MiB).fill(3);
  const clock = patientClock();
  const troubles: string[] = [];
  await initialSync({
    ...ENVIRONMENT,
    clock,
    source: sourceOf(bytes, false),
    writer,
    batchBytes: 64 * KiB,
    onProgress: ({ trouble }) => trouble && troubles.push(trouble),
  });
  assert(clock.waits.length > 0 && troubles[0] === "Cannot reach the store");
  assertEquals(await contentOf(store, MiB), bytes);
});

Deno.test("initialSync() stops on what waiting does not heal, and when it is told to", async () => {
  const abort = new AbortController();
  const rows: [string, Partial<InitialSyncOptions> & { error?: ReplicaError }][] = [
    ["foreign", { error: new ReplicaError("fenced", "Cannot write: foreign change") }],
    ["keys", {
      error: new ReplicaError("unavailable", "Cannot write: keys", { context: { operator: true } }),
    }],
    ["was stopped", { signal: abort.signal, onProgress: () => abort.abort() }],
  ];
  for (const [part, { error, ...change }] of rows) {
    const store = new MemoryStore();
    const writer = await writerOn(store, 4096);
    if (error) store.put = () => Promise.reject(error);
    const source = sourceOf(new Uint8Array(MiB).fill(1), false);
    const options = { ...ENVIRONMENT, source, writer, batchBytes: 64 * KiB, ...change };
    await assertRejects(() => initialSync(options), ReplicaError, part);
    assertEquals(writer.lastCno, 0, part);
  }
});

Deno.test("initialSync() fails with the source's error, after the commit under way", async () => {
  const store = new MemoryStore();
  const source = sourceOf(new Uint8Array(MiB).fill(1), false);
  const readInto = source.readInto.bind(source);
  source.readInto = (offset, into) =>
    offset < 512 * KiB
      ? readInto(offset, into)
      : Promise.reject(new ReplicaError("kernel", "Cannot read /dev/x: EIO"));
  const writer = await writerOn(store, 4096);
  await assertRejects(
    () => initialSync({ ...ENVIRONMENT, source, writer, batchBytes: 128 * KiB }),
    ReplicaError,
    "EIO",
  );
  assertEquals(writer.lastCno, 0);
  await writer.discardStaged();
  assertEquals([...store.objects.keys()], ["inode"]);
});

Deno.test("DeviceData finds the data of a sparse file and stops at the device's end", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 64 * MiB);
    const file = await Deno.open(path, { write: true });
    const block = new Uint8Array(64 * KiB).fill(5);
    for (const offset of [0, 16 * MiB, 40 * MiB, 63 * MiB]) {
      await file.seek(offset, Deno.SeekMode.Start);
      await file.write(block);
    }
    file.close();
    const primary = await BlockDevice.open(path, { access: "read", buffered: "fallback" });
    const source = new DeviceData(primary, 60 * MiB);
    const areas: SharedArea[] = [];
    const store = new MemoryStore();
    const result = await initialSync({
      ...ENVIRONMENT,
      source,
      writer: await writerOn(store, 4096),
      allocate: (sizeBytes) => {
        areas.push(SharedArea.allocate(sizeBytes));
        return areas[areas.length - 1].bytes;
      },
    });
    areas.forEach((area) => area.release());
    primary.close();
    assertEquals(result.copiedBytes, 3 * 64 * KiB);
    const expected = (await Deno.readFile(path)).subarray(0, 60 * MiB);
    assertEquals(Buffer.compare(await contentOf(store, 60 * MiB), expected), 0);
  });
});
