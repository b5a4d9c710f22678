import { ReplicaError } from "../../../src/base/errors.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../../../src/config.ts";
import { primaryLayout } from "../../../src/format/primary_layout.ts";
import { encodeSuperblock, type Superblock } from "../../../src/format/superblock.ts";
import { UnfinishedFormat } from "../../../src/primary/format_metadata.ts";
import { PrimaryMetadata, readSuperblock } from "../../../src/primary/metadata.ts";
import { ReplicaTarget } from "../../../src/target/replica_target.ts";
import type { TargetPrimary, TargetSystem } from "../../../src/target/system.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { FailingDisk } from "../../support/failing_disk.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const UUID = "6d5f0a52-6f0e-4a34-8b45-3b6f8a1c2d3e";

/** What a device with four tags takes at the least. */
const SETTINGS = { queues: 1, depth: 4, bufferBytes: 65536, poolBytes: 2 ** 20 };

/** Logical blocks that the operator asked for, and those of the primary. */
interface Blocks {
  readonly asked?: number;
  readonly primary?: number;
}

async function formattedDisk(
  regionBytes = 65536,
  dataBlockBytes = 4096,
): Promise<FailingDisk> {
  const disk = new FailingDisk(1024 * 1024);
  const layout = primaryLayout({
    primarySizeBytes: disk.sizeBytes,
    regionBytes,
    dataBlockBytes,
  });
  const superblock: Superblock = {
    sequence: 1,
    uuid: UUID,
    primarySizeBytes: layout.primarySizeBytes,
    deviceSizeBytes: layout.deviceSizeBytes,
    regionBytes: layout.regionBytes,
    metaBlockBytes: 4096,
    dataBlockBytes,
    state: "formatting",
    createdMs: 1,
    writtenMs: 1,
    replicaRoot: "memory:///",
    claim: null,
    hasStagedMap: true,
  };
  await (await UnfinishedFormat.begin(disk, layout, superblock)).finish(2);
  return disk;
}

function openTarget(
  disk: FailingDisk,
  blocks: Blocks = {},
  settings: Partial<typeof SETTINGS> = {},
): Promise<ReplicaTarget> {
  const { asked = null, primary: logicalBlockBytes = 512 } = blocks;
  const primary = Object.assign(disk, {
    geometry: { logicalBlockBytes, physicalBlockBytes: 4096 },
    buffered: false,
    fd: -1,
    close: () => {},
  }) as unknown as TargetPrimary;
  const system = { clock: new FakeClock(), openPrimary: () => Promise.resolve(primary) };
  const { poolBytes, ...device } = { ...SETTINGS, ...settings };
  const target = {
    path: disk.name,
    uuid: UUID,
    regionBytes: null,
    poolBytes,
  } as ReplicaTargetConfig;
  const config = { deviceSizeBytes: null, logicalBlockBytes: asked, ...device } as DeviceConfig;
  const { signal } = new AbortController();
  return ReplicaTarget.open(config, target, { signal }, system as unknown as TargetSystem);
}

Deno.test("ReplicaTarget.open() takes regions of whole logical blocks only", async () => {
  const odd = 65536 + 512;
  await openTarget(await formattedDisk(odd));
  await openTarget(await formattedDisk(odd), { asked: 512 });
  await openTarget(await formattedDisk(), { asked: 4096, primary: 4096 });
  for (const blocks of [{ asked: 1024 }, { asked: 4096 }, { primary: 4096 }]) {
    const disk = await formattedDisk(odd);
    const open = () => openTarget(disk, blocks);
    await assertRejects(open, ReplicaError, "regions of 64.5KiB (66048 bytes)");
  }
});

Deno.test("ReplicaTarget.open() refuses a pool and buffers that do not fit the primary's data blocks", async () => {
  const small = openTarget(await formattedDisk(65536, 65536), {}, { poolBytes: 6 * 65536 });
  await small;
  const pool = { poolBytes: 5 * 65536 };
  await assertRejects(
    async () => await openTarget(await formattedDisk(65536, 65536), {}, pool),
    ReplicaError,
    "it must hold two requests of 64KiB with the data blocks of 64KiB around them",
  );
  const large = { queues: 32, depth: 4096, bufferBytes: 4096 };
  await openTarget(await formattedDisk(), {}, large);
  await assertRejects(
    async () => await openTarget(await formattedDisk(65536, 65536), {}, large),
    ReplicaError,
    "more than 16GiB",
  );
});

// Found by the simulator: killed while it stored its claim, cut off before the next daemon stored it
// again - it had read it, so why should it - and refused as another's ever after.
Deno.test("ReplicaTarget.open() makes durable what a killed daemon left in the drive's cache", async () => {
  const disk = await formattedDisk();
  const { superblock, layout } = await PrimaryMetadata.load(disk);
  const stored = { ...superblock, state: "active" as const, sequence: superblock.sequence + 1 };
  // Killed here: written, not flushed.
  await disk.write(layout.superblockOffsetsBytes[1], encodeSuperblock(stored));

  await openTarget(disk);

  const verdict = await readSuperblock(disk.survivor(() => false));
  assert(verdict.kind === "valid", verdict.kind);
  assertEquals(verdict.superblock, stored);
});
