// Formats the simulated drive and its replica, with the steps of `format`: no fault strikes here.

import { SECTOR } from "../../src/base/units.ts";
import type { Clock } from "../../src/base/clock.ts";
import { primaryLayout } from "../../src/format/primary_layout.ts";
import type { Superblock } from "../../src/format/superblock.ts";
import { UnfinishedFormat } from "../../src/primary/format_metadata.ts";
import { NewReplica } from "../../src/replica/new_replica.ts";
import type { Prng } from "../support/prng.ts";
import { UNIT_BYTES, type WorldPlan } from "./plan.ts";
import type { Process } from "./scheduler.ts";
import type { SimDrive } from "./sim_drive.ts";
import type { SimService } from "./sim_store.ts";

export const SIM_UUID = "00000000-0000-4000-8000-000000000001";

export async function formatDrive(options: {
  readonly drive: SimDrive;
  readonly service: SimService;
  readonly process: Process;
  readonly clock: Clock;
  readonly plan: Pick<WorldPlan, "regionBytes" | "preset">;
  readonly random: Prng;
}): Promise<void> {
  const { drive, service, process, clock, random, plan: { regionBytes, preset } } = options;
  if (preset) {
    const stamps = new Int32Array(drive.deviceSizeBytes / SECTOR);
    drive.preset(stamps.map((_, sector) => random.oneIn(2) ? sector + 1 : 0));
  }
  const disk = drive.disk(process);
  const layout = primaryLayout({
    primarySizeBytes: drive.sizeBytes,
    deviceSizeBytes: drive.deviceSizeBytes,
    regionBytes,
    dataBlockBytes: UNIT_BYTES,
  });
  const superblock: Superblock = {
    sequence: 1,
    uuid: SIM_UUID,
    primarySizeBytes: layout.primarySizeBytes,
    deviceSizeBytes: layout.deviceSizeBytes,
    regionBytes: layout.regionBytes,
    metaBlockBytes: 4096,
    dataBlockBytes: UNIT_BYTES,
    state: "formatting",
    createdMs: clock.wallMs(),
    writtenMs: clock.wallMs(),
    replicaRoot: "sim:///",
    claim: null,
    hasStagedMap: true,
  };
  const format = await UnfinishedFormat.begin(disk, layout, superblock);
  const openStore = () => Promise.resolve(service.client(process));
  await new NewReplica({ card: superblock, openStore }).create();
  await format.finish(clock.wallMs());
}
