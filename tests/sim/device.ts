// The configuration of the simulated device, as `add` would have made it.

import type { DeviceConfig, ReplicaTargetConfig } from "../../src/config.ts";
import { UNIT_BYTES, type WorldPlan } from "./plan.ts";

export function deviceConfig(plan: WorldPlan): DeviceConfig {
  return {
    number: -1,
    queues: plan.queues,
    depth: plan.depth,
    bufferBytes: plan.habits.ioBlocks * UNIT_BYTES,
    readOnly: false,
    logicalBlockBytes: null,
    physicalBlockBytes: null,
    deviceSizeBytes: null,
    unixSocket: "./.ioreplica",
    log: { level: "info", format: "text", file: null },
    target: { type: "null" },
  };
}

export function targetConfig(plan: WorldPlan, uuid: string): ReplicaTargetConfig {
  return {
    type: "io-replica",
    path: "sim-drive",
    bufferedIo: false,
    replica: { type: "file", uri: "sim:///replica", path: "/nowhere" },
    s3: {},
    uuid,
    regionBytes: null,
    poolBytes: plan.poolUnits * UNIT_BYTES,
    skipInitialSync: plan.skipInitialSync,
    writeIntent: true,
    takeOver: false,
    force: false,
    congestion: plan.congestion,
    resyncConcurrency: plan.recoverConcurrency,
    resyncBytesPerSecond: plan.resyncRate,
    acceptUnsafeStore: false,
  };
}
