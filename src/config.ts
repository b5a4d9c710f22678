// The configuration of one device: checked here once and frozen, then passed on as it is - as JSON to
// the daemon's process and into its state file. What a room needs of it is picked where the room is
// made (target/room_options.ts, device/kernel_device.ts). Rules that need a look at a disk are checked by who opens
// the disk.

import { usageError } from "./base/errors.ts";
import { checkRange } from "./base/range.ts";
import { formatSize, GiB, isPowerOfTwo, KiB, MiB, SECTOR } from "./base/units.ts";
import { parseUuid } from "./base/uuid.ts";
import { checkRegionBytes, DEVICE_BYTES_MAX } from "./format/primary_layout.ts";
import { resolveS3Settings, type S3Config } from "./replica/s3_settings.ts";
import { lastComponent, parseReplicaUri, type ReplicaLocation } from "./replica/replica_uri.ts";

/** Less would not keep up with anything, and never end. */
const RESYNC_RATE_MIN = 64 * KiB;

/** Bounds of the settings; the help and the error messages are made from them. */
export const LIMITS = {
  deviceNumber: 1_048_575,
  resyncConcurrency: 64,
  depth: 4096,
  queues: 32,
  bufferBytesMin: 4 * KiB,
  bufferBytesMax: 1 * MiB,
  blockBytesMax: 4 * KiB,
  deviceBytesMin: 1 * MiB,
  deviceBytesMax: DEVICE_BYTES_MAX,
  poolBytesMin: 1 * MiB,
  /** Pool and request buffers together: one shared memory, of which V8 allows 16 GiB. */
  memoryBytesMax: 15 * GiB,
} as const;

/** Requests carry whole blocks of this size as long as a device's target does not know better. */
const ALIGNMENT = 4 * KiB;

/** A device that stores nothing: the baseline of the ublk side. */
export interface NullTarget {
  readonly type: "null";
}

/** A device in front of one block device or file, without a replica. */
export interface LoopTarget {
  readonly type: "loop";
  readonly path: string;
  /** Through the page cache instead of direct I/O. */
  readonly bufferedIo: boolean;
}

/** A primary with its replica. */
export interface ReplicaTargetConfig {
  readonly type: "io-replica";
  /** The primary. */
  readonly path: string;
  readonly bufferedIo: boolean;
  readonly replica: ReplicaLocation;
  readonly s3: S3Config;
  readonly uuid: string;
  /** Null: as formatted. Otherwise it must be what the primary was formatted with. */
  readonly regionBytes: number | null;
  readonly poolBytes: number;
  /** A primary that was never copied holds nothing that the replica must get. */
  readonly skipInitialSync: boolean;
  /** False, for measurements: every region counts as dirty for as long as the device runs. */
  readonly writeIntent: boolean;
  /** Take the replica from another writer that holds it. */
  readonly takeOver: boolean;
  /** Use a store that does not keep two writers apart. */
  readonly acceptUnsafeStore: boolean;
  /** Where the start would be refused: copy the whole primary, whatever the replica holds. */
  readonly force: boolean;
  /** What a full pool means for writes: left to resync, or held back. */
  readonly congestion: Congestion;
  /** Copies of resync at once. */
  readonly resyncConcurrency: number;
  /** Bytes per second that resync reads at most; null: no limit. */
  readonly resyncBytesPerSecond: number | null;
}

export const CONGESTION_POLICIES = ["resync", "block"] as const;
export type Congestion = typeof CONGESTION_POLICIES[number];

export type TargetConfig = NullTarget | LoopTarget | ReplicaTargetConfig;

export interface LogConfig {
  readonly level: "debug" | "info" | "warning" | "error";
  readonly format: "text" | "json";
  /** Every room appends to it; null: stderr. */
  readonly file: string | null;
}

/** Frozen, and a structured clone of it equals it. */
export interface DeviceConfig {
  /** N of /dev/ublkbN; -1: the next free number. */
  readonly number: number;
  readonly queues: number;
  readonly depth: number;
  /** Greatest request in bytes. */
  readonly bufferBytes: number;
  readonly readOnly: boolean;
  /** Null: what the target has. */
  readonly logicalBlockBytes: number | null;
  readonly physicalBlockBytes: number | null;
  /** Null: the whole target (for the null target, a default). */
  readonly deviceSizeBytes: number | null;
  /** Path of the management socket, as given: relative to the working directory. */
  readonly unixSocket: string;
  readonly log: LogConfig;
  readonly target: TargetConfig;
}

/** Settings as the command line or a stored file has them: unchecked, but of the right types. */
export interface DeviceSettings {
  readonly number: number;
  readonly queues: number;
  readonly depth: number;
  readonly bufferBytes: number;
  readonly readOnly: boolean;
  readonly logicalBlockBytes?: number;
  readonly physicalBlockBytes?: number;
  readonly deviceSizeBytes?: number;
  readonly unixSocket: string;
  readonly log: LogConfig;
  readonly target:
    | NullTarget
    | LoopTarget
    | {
      readonly type: "io-replica";
      readonly path: string;
      readonly bufferedIo: boolean;
      readonly replicaUri: string;
      readonly s3: S3Config;
      readonly uuid: string;
      readonly regionBytes?: number;
      readonly poolBytes: number;
      readonly skipInitialSync?: boolean;
      readonly writeIntent?: boolean;
      readonly takeOver?: boolean;
      readonly acceptUnsafeStore?: boolean;
      readonly force?: boolean;
      readonly congestion?: Congestion;
      readonly resyncConcurrency?: number;
      readonly resyncBytesPerSecond?: number;
    };
}

/** Size of a null device when none is given. */
export const NULL_DEVICE_BYTES = 250 * GiB;

/** The checked configuration, or a usage error that names the option. */
export function deviceConfig(settings: DeviceSettings): DeviceConfig {
  const next = "-1 takes the next free number.";
  checkRange("--number", settings.number, -1, LIMITS.deviceNumber, next);
  checkRange("--queue", settings.queues, 1, LIMITS.queues);
  checkRange("--depth", settings.depth, 1, LIMITS.depth);
  checkBufferSize(settings.bufferBytes);
  checkBlockSizes(settings);
  checkDeviceSize(settings.deviceSizeBytes);
  checkSocketPath(settings.unixSocket);
  const target = targetConfig(settings);
  checkMemory(settings, target);
  return freeze({
    number: settings.number,
    queues: settings.queues,
    depth: settings.depth,
    bufferBytes: settings.bufferBytes,
    readOnly: settings.readOnly,
    logicalBlockBytes: settings.logicalBlockBytes ?? null,
    physicalBlockBytes: settings.physicalBlockBytes ?? null,
    deviceSizeBytes: settings.deviceSizeBytes ?? null,
    unixSocket: settings.unixSocket,
    log: { ...settings.log },
    target,
  });
}

function targetConfig({ target, logicalBlockBytes }: DeviceSettings): TargetConfig {
  if (target.type === "null") return { type: "null" };
  if (target.type === "loop") return { ...target };
  const uuid = parseUuid(target.uuid, "--uuid");
  const replica = parseReplicaUri(target.replicaUri, "--replica");
  checkReplica(replica, uuid);
  checkS3(replica, target.s3);
  // What the primary's own logical blocks ask for is checked where it is open.
  if (target.regionBytes !== undefined) {
    checkRegionBytes(target.regionBytes, logicalBlockBytes ?? SECTOR);
  }
  checkPoolSize(target.poolBytes);
  const resyncConcurrency = target.resyncConcurrency ?? 1;
  checkRange("--recover-concurrency", resyncConcurrency, 1, LIMITS.resyncConcurrency);
  checkResyncRate(target.resyncBytesPerSecond);
  return {
    type: "io-replica",
    path: target.path,
    bufferedIo: target.bufferedIo,
    replica,
    s3: { ...target.s3 },
    uuid,
    regionBytes: target.regionBytes ?? null,
    poolBytes: target.poolBytes,
    skipInitialSync: target.skipInitialSync ?? false,
    writeIntent: target.writeIntent ?? true,
    takeOver: target.takeOver ?? false,
    acceptUnsafeStore: target.acceptUnsafeStore ?? false,
    force: target.force ?? false,
    congestion: target.congestion ?? "resync",
    resyncConcurrency,
    resyncBytesPerSecond: target.resyncBytesPerSecond ?? null,
  };
}

function checkResyncRate(bytesPerSecond: number | undefined): void {
  if (bytesPerSecond === undefined || bytesPerSecond >= RESYNC_RATE_MIN) return;
  throw usageError(`Cannot use --resync-rate ${formatSize(bytesPerSecond)}: it is too low`, {
    hint: `Use at least ${formatSize(RESYNC_RATE_MIN)}, or leave it out.`,
  });
}

function checkSize(name: string, bytes: number, least: number, greatest: number): void {
  if (bytes < least || bytes > greatest) {
    throw usageError(
      `Cannot use ${name} ${formatSize(bytes)}: it must be from ${formatSize(least)} to ${
        formatSize(greatest)
      }`,
    );
  }
}

function checkMultiple(name: string, bytes: number, unit: number): void {
  if (bytes % unit !== 0) {
    throw usageError(`Cannot use ${name} ${bytes}: it must be a multiple of ${unit} bytes`);
  }
}

function checkBufferSize(bytes: number): void {
  checkSize("--io-buf-size", bytes, LIMITS.bufferBytesMin, LIMITS.bufferBytesMax);
  checkMultiple("--io-buf-size", bytes, ALIGNMENT);
}

function checkBlockSizes(settings: DeviceSettings): void {
  const { logicalBlockBytes: logical, physicalBlockBytes: physical } = settings;
  if (logical !== undefined) checkBlockSize("--logical-block-size", logical);
  if (physical !== undefined) checkBlockSize("--physical-block-size", physical);
  if (physical !== undefined && physical < (logical ?? SECTOR)) {
    throw usageError(
      `Cannot use --physical-block-size ${physical}: it is less than the logical block size of ${
        logical ?? SECTOR
      }`,
    );
  }
}

function checkBlockSize(name: string, bytes: number): void {
  if (!isPowerOfTwo(bytes) || bytes < SECTOR || bytes > LIMITS.blockBytesMax) {
    throw usageError(`Cannot use ${name} ${bytes}: it must be 512, 1024, 2048 or 4096`);
  }
}

function checkDeviceSize(bytes: number | undefined): void {
  if (bytes === undefined) return;
  checkSize("--device-size", bytes, LIMITS.deviceBytesMin, LIMITS.deviceBytesMax);
  checkMultiple("--device-size", bytes, ALIGNMENT);
}

function checkPoolSize(bytes: number): void {
  checkSize("--pool-size", bytes, LIMITS.poolBytesMin, LIMITS.memoryBytesMax);
  checkMultiple("--pool-size", bytes, ALIGNMENT);
}

/**
 * The pool must hold several of the greatest requests, and all of it one shared memory, as far as can be
 * told before the primary has told the size of its blocks (checkSharedMemory()).
 */
function checkMemory(settings: DeviceSettings, target: TargetConfig): void {
  const { queues, depth, bufferBytes } = settings;
  const poolBytes = target.type === "io-replica" ? target.poolBytes : 0;
  if (target.type === "io-replica" && poolBytes < 4 * bufferBytes) {
    throw usageError(
      `Cannot use --pool-size ${formatSize(poolBytes)}: it must hold four requests of ${
        formatSize(bufferBytes)
      }`,
      { hint: "Give a greater --pool-size or a smaller --io-buf-size." },
    );
  }
  // Beside its buffer a tag has room for the blocks around an unaligned write.
  const total = poolBytes + queues * depth * (bufferBytes + 128 * KiB);
  if (total > LIMITS.memoryBytesMax) {
    throw usageError(
      `Cannot use --queue ${queues} with --depth ${depth}: buffers and pool would take ${
        formatSize(total)
      } of memory, more than ${formatSize(LIMITS.memoryBytesMax)}`,
      { hint: "Give a smaller --queue, --depth, --io-buf-size or --pool-size." },
    );
  }
}

function checkReplica(replica: ReplicaLocation, uuid: string): void {
  if (replica.type === "raw") {
    throw usageError(
      `Cannot use --replica "${replica.uri}": this version has no in-place mirrors yet`,
      { hint: "Use s3://bucket/key… or file:///directory…, which also keep a history." },
    );
  }
  const last = lastComponent(replica);
  if (last !== uuid) {
    throw usageError(
      `Cannot use --replica "${replica.uri}": its last component is not the device's UUID ${uuid}`,
      { hint: "Give the replica_uri and the UUID that format printed." },
    );
  }
}

/** Refuses S3 options that can't be right; also called by the commands that have no device. */
export function checkS3(replica: ReplicaLocation, s3: S3Config): void {
  if (replica.type !== "s3" && Object.keys(s3).length > 0) {
    throw usageError(`Cannot use --s3-… options: the replica "${replica.uri}" is not on S3`);
  }
  if (replica.type === "s3") resolveS3Settings({ ...replica, ...s3 }, noEnvironment);
}

/** The environment is read where the connection is made. */
function noEnvironment(): undefined {}

/** Refuses paths that no socket can have; the address holds 107 bytes and a NUL. */
export function checkSocketPath(path: string): void {
  const length = new TextEncoder().encode(path).length;
  if (length > 107) {
    throw usageError(`Cannot use --unix-socket: its path has ${length} bytes, more than 107`, {
      hint: "Give a shorter path, or one relative to the working directory.",
    });
  }
  if (path === "" || path.endsWith("/")) {
    throw usageError(`Cannot use --unix-socket "${path}": it is not the path of a file`);
  }
}

function freeze(config: DeviceConfig): DeviceConfig {
  Object.freeze(config.log);
  Object.freeze(config.target);
  if (config.target.type === "io-replica") {
    Object.freeze(config.target.replica);
    Object.freeze(config.target.s3);
  }
  return Object.freeze(config);
}
