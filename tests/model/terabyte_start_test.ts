// How soon a large device that was not stopped cleanly logs again: the real target with its
// replicator's room, on this machine itself; only the block device in front is missing. In a guest,
// where starting the program takes longer than all this: tests/e2e/replica_kill_test.ts.

import { check } from "../../ffi/errno.ts";
import { O_CLOEXEC, openLibc } from "../../ffi/libc.ts";
import { configureLog } from "../../src/base/log.ts";
import { alignDown, GiB, KiB, MiB, SECTOR, TiB } from "../../src/base/units.ts";
import { deviceConfig, type ReplicaTargetConfig as TargetConfig } from "../../src/config.ts";
import { regionPageOffset } from "../../src/format/primary_layout.ts";
import { encodeRegionPage, REGIONS_PER_PAGE, setRegion } from "../../src/format/region_map.ts";
import { BlockDevice } from "../../src/primary/block_device.ts";
import { readDirtyMap } from "../../src/primary/dirty_map.ts";
import { PrimaryMetadata } from "../../src/primary/metadata.ts";
import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { openObjectStore } from "../../src/replica/open.ts";
import { parseReplicaUri } from "../../src/replica/replica_uri.ts";
import { ONE_SHOT_RETRY } from "../../src/replica/retry_store.ts";
import { ReplicaTarget } from "../../src/target/replica_target.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../src/shared/counters.ts";
import type { SharedLayout } from "../../src/shared/layout.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { CliWorld } from "../support/cli_context.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { sparseFile, withTempDir } from "../support/temp_disk.ts";

const DIRTY = 10;
const LIMIT_MS = 5_000;

Deno.test("a 1 TiB device with 10 dirty regions logs again within 5 seconds", async () => {
  await withTempDir(async (folder) => {
    await crashAndStart(folder, { name: "1 TiB", sizeBytes: TiB, regionBytes: 8 * MiB });
  });
});

// The finest regions that 64 TiB may have, and of an odd size. Only a file system in memory has files of
// that length everywhere.
Deno.test("a 64 TiB device with 2^27 regions starts, and copies what its last regions need", async () => {
  const folder = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "io-replica-" });
  const device = { name: "64 TiB", sizeBytes: 64 * TiB, regionBytes: 512 * KiB + SECTOR };
  try {
    const uri = await crashAndStart(folder, device);
    const store = await openObjectStore(parseReplicaUri(uri, "the test"), {
      access: "read",
      retry: ONE_SHOT_RETRY,
    });
    const reader = await HyperfileReader.open(store);
    const [shown, held] = [new Uint8Array(4 * KiB), new Uint8Array(4 * KiB)];
    await reader.read(device.sizeBytes - shown.length, shown);
    using file = await Deno.open(`${folder}/primary`);
    await file.seek(device.sizeBytes - held.length, Deno.SeekMode.Start);
    await file.read(held);
    assert(held.some((byte) => byte !== 0), "the last block holds data");
    assertEquals(shown, held);
    await store.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

interface LargeDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly regionBytes: number;
}

/** Formats, runs, crashes with dirty regions, and starts again; gives the replica's URI. */
async function crashAndStart(folder: string, device: LargeDevice): Promise<string> {
  const { name, sizeBytes, regionBytes } = device;
  const primary = await sparseFile(`${folder}/primary`, sizeBytes + GiB);
  const uri = await formatted(primary, `file://${folder}/replicas`, device);
  configureLog({ level: "error", format: "text" });
  await runUntilLogging(primary, uri);
  const regions = dirtyRegions(new Prng(seedOf(name)), Math.ceil(sizeBytes / regionBytes));
  await crashWith(primary, regions);
  const { tookMs, resyncedBytes, layout } = await runUntilLogging(primary, uri);
  const sharedMiB = Math.round((layout.totalBytes - layout.poolBytes) / MiB);
  // deno-lint-ignore no-console -- the figures are what the test is for
  console.log(
    `${name}, ${DIRTY} dirty regions: logging ${Math.round(tookMs)} ms after the start, ` +
      `${sharedMiB} MiB shared beside the pool`,
  );
  assertEquals(resyncedBytes, bytesOf(regions, layout));
  assert(tookMs <= LIMIT_MS, `it took ${tookMs} ms`);
  return uri;
}

/** Bytes of the chunks that any of these regions lies in. */
function bytesOf(regions: readonly number[], layout: SharedLayout): number {
  const chunkBytes = layout.chunkBlocks * layout.unitBytes;
  const chunks = new Set<number>();
  for (const region of regions) {
    const end = Math.min((region + 1) * layout.regionBytes, layout.deviceSizeBytes);
    const first = Math.floor(region * layout.regionBytes / chunkBytes);
    for (let chunk = first; chunk * chunkBytes < end; chunk++) chunks.add(chunk);
  }
  return chunks.size * chunkBytes;
}

async function formatted(primary: string, root: string, device: LargeDevice): Promise<string> {
  using world = new CliWorld();
  const sizes = ["--device-size", `${device.sizeBytes}`, "--region-size", `${device.regionBytes}`];
  const { code, stdout, stderr } = await world.run(
    ...["format", "-f", primary, ...sizes, "--replica", root],
  );
  assertEquals(code, 0, stderr);
  return stdout.trim().split("replica_uri: ")[1];
}

/** One life of the device without a guest; gives how long it took from nothing to logging. */
async function runUntilLogging(primary: string, uri: string) {
  const config = deviceConfig({
    ...{ number: -1, queues: 1, depth: 128, bufferBytes: 512 * KiB, readOnly: false },
    unixSocket: "unused",
    log: { level: "error", format: "text", file: null },
    target: {
      ...{ type: "io-replica", path: primary, bufferedIo: false, replicaUri: uri },
      s3: {} as TargetConfig["s3"],
      uuid: uri.slice(uri.lastIndexOf("/") + 1),
      poolBytes: 64 * MiB,
    },
  });
  const libc = openLibc();
  const doorbell = check(libc.eventfd(0, O_CLOEXEC), "make an eventfd");
  const { signal } = new AbortController();
  const sinceMs = performance.now();
  const target = await ReplicaTarget.open(config, config.target as TargetConfig, { signal });
  try {
    await target.start({ deviceId: 0, queues: 1, depth: config.depth, doorbellFds: [doorbell] });
    while (target.state.mode !== "logging") await new Promise((resolve) => setTimeout(resolve, 5));
    const tookMs = performance.now() - sinceMs;
    const { views } = target;
    assert(views !== null);
    const row = replicatorCounters(views);
    const resyncedBytes = views.counters[row + REPLICATOR_COUNTER.resyncedBytes];
    await target.drain({ served: true });
    return { tookMs, resyncedBytes, layout: views.layout };
  } finally {
    await target.close();
    libc.close(doorbell);
  }
}

/** The last one among them. */
function dirtyRegions(random: Prng, count: number): readonly number[] {
  const regions = new Set([count - 1]);
  while (regions.size < DIRTY) regions.add(random.below(count));
  return [...regions];
}

/** Leaves on the primary what a killed daemon does: data, marks, and a superblock that says active. */
async function crashWith(path: string, regions: readonly number[]): Promise<void> {
  const disk = await BlockDevice.open(path, { access: "write", buffered: "fallback" });
  try {
    const metadata = await PrimaryMetadata.load(disk);
    const { layout, superblock: { uuid } } = metadata;
    const { pages } = await readDirtyMap(disk, layout, uuid);
    for (const region of regions) {
      const end = Math.min((region + 1) * layout.regionBytes, layout.deviceSizeBytes);
      const offset = alignDown(end - 1, 4 * KiB);
      await disk.write(offset, crypto.getRandomValues(new Uint8Array(4 * KiB)));
      const page = pages[Math.floor(region / REGIONS_PER_PAGE)];
      setRegion(page.bits, region % REGIONS_PER_PAGE, true);
    }
    for (const page of pages) {
      const sequence = page.sequence + 1;
      const place = { page: page.page, copy: sequence % 2 };
      const offset = regionPageOffset(layout, layout.dirtyMapOffsetBytes, place);
      await disk.write(offset, encodeRegionPage({ ...page, sequence }));
    }
    await metadata.storeSuperblock({ state: "active", writtenMs: Date.now() });
  } finally {
    disk.close();
  }
}
