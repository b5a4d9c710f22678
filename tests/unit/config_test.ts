import { assertEquals, assertThrows } from "../support/assert.ts";
import { deviceConfig, type DeviceSettings, LIMITS } from "../../src/config.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { GiB, MiB } from "../../src/base/units.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const BASE: DeviceSettings = {
  number: -1,
  queues: 1,
  depth: 128,
  bufferBytes: 524288,
  readOnly: false,
  unixSocket: "./.ioreplica",
  log: { level: "info", format: "text", file: null },
  target: { type: "null" },
};
const REPLICA: DeviceSettings["target"] = {
  type: "io-replica",
  path: "/dev/vdb",
  bufferedIo: false,
  replicaUri: `s3://bucket/hosts/${UUID}/`,
  s3: { endpoint: "http://127.0.0.1:9000" },
  uuid: UUID.toUpperCase(),
  poolBytes: GiB,
};

function isDeeplyFrozen(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  return Object.isFrozen(value) && Object.values(value).every(isDeeplyFrozen);
}

Deno.test("deviceConfig() fills in, normalises and freezes", () => {
  const config = deviceConfig({ ...BASE, target: REPLICA });
  assertEquals(config.target, {
    type: "io-replica",
    path: "/dev/vdb",
    bufferedIo: false,
    replica: {
      type: "s3",
      uri: `s3://bucket/hosts/${UUID}`,
      bucket: "bucket",
      key: `hosts/${UUID}`,
    },
    s3: { endpoint: "http://127.0.0.1:9000" },
    uuid: UUID,
    regionBytes: null,
    poolBytes: GiB,
    skipInitialSync: false,
    writeIntent: true,
    takeOver: false,
    acceptUnsafeStore: false,
    force: false,
    congestion: "resync",
    resyncConcurrency: 1,
    resyncBytesPerSecond: null,
  });
  assertEquals([config.logicalBlockBytes, config.deviceSizeBytes], [null, null]);
  assertEquals(isDeeplyFrozen(config), true);
});

Deno.test("deviceConfig() gives what a structured clone and JSON keep as it is", () => {
  for (const target of [BASE.target, REPLICA]) {
    const config = deviceConfig({ ...BASE, target });
    assertEquals(structuredClone(config), config);
    assertEquals(JSON.parse(JSON.stringify(config)), config);
  }
});

Deno.test("deviceConfig() accepts its limits and refuses what lies beyond", () => {
  const rows: [keyof DeviceSettings, number, number][] = [
    ["number", -1, -2],
    ["number", LIMITS.deviceNumber, LIMITS.deviceNumber + 1],
    ["queues", 1, 0],
    ["queues", LIMITS.queues, LIMITS.queues + 1],
    ["depth", 1, 0],
    ["depth", LIMITS.depth, LIMITS.depth + 1],
    ["bufferBytes", 4096, 4095],
    ["bufferBytes", MiB, MiB + 4096],
    ["logicalBlockBytes", 4096, 8192],
    ["physicalBlockBytes", 512, 511],
    ["deviceSizeBytes", LIMITS.deviceBytesMax, LIMITS.deviceBytesMax + 4096],
  ];
  for (const [field, good, bad] of rows) {
    deviceConfig({ ...BASE, [field]: good });
    const refuse = () => deviceConfig({ ...BASE, [field]: bad });
    assertThrows(refuse, ReplicaError, "Cannot use --", `${field} ${bad}`);
  }
});

Deno.test("deviceConfig() wants room for requests in the pool and for all in one memory", () => {
  const withPool = (poolBytes: number, settings: Partial<DeviceSettings> = {}) =>
    deviceConfig({ ...BASE, ...settings, target: { ...REPLICA, poolBytes } });
  withPool(4 * BASE.bufferBytes);
  assertThrows(() => withPool(4 * BASE.bufferBytes - 4096), ReplicaError, "four requests");
  withPool(14 * GiB);
  const wide = { queues: 32, depth: 256 };
  assertThrows(() => withPool(14 * GiB, wide), ReplicaError, "--queue 32 with --depth 256");
});
