// `add`: starts a device, in the background unless told otherwise. One command per target; they share
// the options of the queues and of the daemon.

import deno from "../../deno.json" with { type: "json" };
import { GiB } from "../base/units.ts";
import {
  CONGESTION_POLICIES,
  type DeviceConfig,
  deviceConfig,
  LIMITS,
  NULL_DEVICE_BYTES,
} from "../config.ts";
import { type CommonValues, defineCommand, defineGroup, type OptionValues } from "./command.ts";
import type { Context } from "./context.ts";
import type { DeviceProgress } from "../control/running_device.ts";
import { progressText } from "./progress_text.ts";
import { runDaemon } from "./daemon.ts";
import { absolutePath } from "./paths.ts";
import { DEFAULT_SOCKET } from "./find_daemon.ts";
import { launchDaemon } from "./launch.ts";
import {
  choiceOption,
  flagOption,
  integerOption,
  refusedFlag,
  refusedUnless,
  sizeOption,
  textOption,
} from "./options.ts";
import { s3ConfigOf, s3Options } from "./s3_options.ts";
import { readyText } from "./ready_report.ts";

const PROGRESS_MS = 2_000;
const DEVICE = "Device:";
const DAEMON = "Daemon:";

const deviceOptions = {
  number: integerOption("-n, --number <N>", {
    summary: "Number of the device, N of /dev/ublkbN; -1 takes the next free one",
    default: -1,
    group: DEVICE,
  }),
  queue: integerOption("-q, --queue <N>", {
    summary: `Hardware queues, each with a thread of its own, up to ${LIMITS.queues}`,
    default: 1,
    group: DEVICE,
  }),
  depth: integerOption("-d, --depth <N>", {
    summary: `Requests in flight per queue, up to ${LIMITS.depth}`,
    default: 128,
    group: DEVICE,
  }),
  ioBufSize: sizeOption("-b, --io-buf-size <SIZE>", {
    summary: "Greatest request, a multiple of 4096 up to 1MiB",
    default: 524288,
    group: DEVICE,
  }),
  deviceSize: sizeOption("--device-size <SIZE>", {
    summary: "Size of the device",
    defaultText: "the whole target",
    group: DEVICE,
  }),
  logicalBlockSize: sizeOption("--logical-block-size <SIZE>", {
    summary: "512, 1024, 2048 or 4096",
    defaultText: "the target's",
    group: DEVICE,
  }),
  physicalBlockSize: sizeOption("--physical-block-size <SIZE>", {
    summary: "512, 1024, 2048 or 4096",
    defaultText: "the target's",
    group: DEVICE,
  }),
  readOnly: flagOption("-o, --read-only", { summary: "Refuse writes", group: DEVICE }),
};

const daemonOptions = {
  foreground: flagOption("--foreground", {
    summary: "Stay in the foreground until SIGINT, SIGTERM or a stop request",
    group: DAEMON,
  }),
  quiet: flagOption("--quiet", { summary: "Print nothing about the device", group: DAEMON }),
};

const refusedOptions = {
  userRecovery: refusedFlag("-r, --user-recovery", {
    summary: "Keep the device while its daemon is replaced",
    hint: 'Leave it out: "del" removes what a dead daemon left, then "add" again.',
  }),
  userCopy: refusedFlag("-u, --user-copy", {
    summary: "Copy request data by pread and pwrite",
    hint: "Leave it out: the driver copies request data.",
  }),
  unprivileged: refusedFlag("-p, --unprivileged", {
    summary: "Let an ordinary user run the device",
    hint: "Leave it out, and run add as root.",
  }),
  zeroCopy: refusedFlag("-z, --zero-copy", { summary: "Let the driver map request pages" }),
  multiCpusAffinity: refusedFlag("--multi-cpus-affinity", {
    summary: "Let a queue's thread run on several CPUs",
    hint: "Leave it out: the threads are not bound to CPUs.",
  }),
  // V8 gives memory back by MADV_DONTNEED, which fails on locked memory, and V8 then aborts.
  mlock: refusedFlag("--mlock", {
    summary: "Keep the daemon's memory from being paged out",
    hint: "Leave it out, and keep its cgroup from swapping: systemd's MemorySwapMax=0.",
  }),
  asyncAwait: refusedFlag("-a, --async-await", {
    summary: "Another form of the queue loop",
    hint: "Leave it out: there is one form of the queue loop.",
  }),
};

const targetFile = {
  bufferedIo: flagOption("--buffered-io", {
    summary: "Through the page cache instead of direct I/O",
    group: DEVICE,
  }),
};

const bareSocket = {
  unixSocket: textOption("--unix-socket <PATH>", {
    summary: "Management socket, mode 0600",
    defaultText: "a file in the run directory",
    group: DAEMON,
  }),
};

type SharedValues =
  & OptionValues<typeof deviceOptions>
  & OptionValues<typeof daemonOptions>
  & CommonValues;

/** Settings that all targets share. */
function sharedSettings(values: SharedValues, unixSocket: string) {
  return {
    number: values.number,
    queues: values.queue,
    depth: values.depth,
    bufferBytes: values.ioBufSize,
    readOnly: values.readOnly,
    logicalBlockBytes: values.logicalBlockSize,
    physicalBlockBytes: values.physicalBlockSize,
    deviceSizeBytes: values.deviceSize,
    unixSocket,
    log: { level: values.logLevel, format: values.logFormat, file: values.logFile ?? null },
  };
}

function bareSocketPath(ctx: Context, type: string, given: string | undefined): string {
  return given ?? `${ctx.runDirectory}/${type}-${Deno.pid}.sock`;
}

const addReplica = defineCommand({
  name: "io-replica",
  summary: "A device with a replica",
  description:
    "Reads and writes go to the primary at local speed; every write is also copied to the " +
    "memory pool and from there, in order, to the replica. The primary must have been formatted. " +
    "Returns when the device is usable, or with the error that stopped it.",
  options: {
    file: textOption("-f, --file <FILE>", {
      summary: "Primary: the formatted block device or file",
      required: true,
    }),
    replica: textOption("--replica <URI>", {
      summary: "The replica_uri that format printed",
      required: true,
    }),
    uuid: textOption("--uuid <UUID>", { summary: "The UUID that format printed", required: true }),
    poolSize: sizeOption("--pool-size <SIZE>", {
      summary: "Memory for writes that are not yet on the replica",
      default: 1 * GiB,
    }),
    regionSize: sizeOption("--region-size <SIZE>", {
      summary: "Granule of consistency tracking; must be what the primary was formatted with",
      defaultText: "as formatted",
    }),
    skipInitialSync: flagOption("--skip-initial-sync", {
      summary: "Do not copy a newly formatted primary: it holds nothing but zeros",
    }),
    congestion: choiceOption("--congestion <POLICY>", {
      summary: "What writes do when the pool is full: resync (go on, and copy their regions " +
        "afterwards) or block (wait, and keep every checkpoint)",
      choices: CONGESTION_POLICIES,
      default: "resync",
    }),
    recoverConcurrency: integerOption("--recover-concurrency <N>", {
      summary: "Pieces of 512KiB that a resync copies at the same time, 1 to 64",
      default: 1,
    }),
    resyncRate: sizeOption("--resync-rate <SIZE>", {
      summary: "Bytes per second that a resync reads at most",
      defaultText: "no limit, but half of the time while the device is in use",
    }),
    forceStartupRecover: flagOption("--force-startup-recover", {
      summary: "Copy the primary to the replica although the two do not match: " +
        "the primary wins",
    }),
    withoutWriteIntent: flagOption("--without-write-intent", {
      summary: "For measurements: count every region as dirty, so that a crash costs a full copy",
    }),
    takeOver: flagOption("--take-over", {
      summary:
        "Take the replica from another daemon that holds it: that one goes on without a replica",
    }),
    acceptUnsafeStore: flagOption("--accept-unsafe-store", {
      summary:
        "Use an S3 server without working conditional writes, which can't keep two daemons apart",
    }),
    ...s3Options,
    ...deviceOptions,
    ...targetFile,
    unixSocket: textOption("--unix-socket <PATH>", {
      summary: "Management socket, mode 0600",
      default: DEFAULT_SOCKET,
      group: DAEMON,
    }),
    ...daemonOptions,
    ...refusedOptions,
    localPoolSize: refusedUnless("--local-pool-size <SIZE>", {
      summary: "Second pool in front of the memory pool",
      accepted: "0",
      hint: "Leave it out, and give a greater --pool-size instead.",
    }),
  },
  examples: [
    [
      "add io-replica -f /dev/nvme0n1 --uuid UUID --replica s3://backups/hosts/UUID",
      "What format printed, in the background",
    ],
    [
      "add io-replica -f disk.img --uuid UUID --replica file:///srv/replicas/UUID \\\n" +
      "-q 4 --pool-size 256MiB --foreground --log-level debug",
      "Four queues and a small pool, in the foreground",
    ],
  ],
  run(ctx, values) {
    const config = deviceConfig({
      ...sharedSettings(values, values.unixSocket),
      target: {
        type: "io-replica",
        path: absolutePath(values.file),
        bufferedIo: values.bufferedIo,
        replicaUri: values.replica,
        s3: s3ConfigOf(values),
        uuid: values.uuid,
        regionBytes: values.regionSize,
        poolBytes: values.poolSize,
        skipInitialSync: values.skipInitialSync,
        writeIntent: !values.withoutWriteIntent,
        takeOver: values.takeOver,
        acceptUnsafeStore: values.acceptUnsafeStore,
        force: values.forceStartupRecover,
        congestion: values.congestion,
        resyncConcurrency: values.recoverConcurrency,
        resyncBytesPerSecond: values.resyncRate,
      },
    });
    return startDevice(ctx, config, values);
  },
});

const addLoop = defineCommand({
  name: "loop",
  summary: "A device in front of a block device or file, without a replica",
  description: "Useful as it is, and the baseline that io-replica is measured against.",
  options: {
    file: textOption("-f, --file <FILE>", {
      summary: "Block device or regular file",
      required: true,
    }),
    ...deviceOptions,
    ...targetFile,
    ...bareSocket,
    ...daemonOptions,
    ...refusedOptions,
  },
  examples: [["add loop -f disk.img -q 2", "An image file as a block device"]],
  run(ctx, values) {
    const config = deviceConfig({
      ...sharedSettings(values, bareSocketPath(ctx, "loop", values.unixSocket)),
      target: { type: "loop", path: absolutePath(values.file), bufferedIo: values.bufferedIo },
    });
    return startDevice(ctx, config, values);
  },
});

const addNull = defineCommand({
  name: "null",
  summary: "A device that drops writes and reads whatever was in its buffers",
  description: "Measures what ublk and this program cost, without any storage.",
  options: { ...deviceOptions, ...bareSocket, ...daemonOptions, ...refusedOptions },
  examples: [["add null -q 4 --device-size 1TiB", "Four queues, one tebibyte"]],
  run(ctx, values) {
    const settings = sharedSettings(values, bareSocketPath(ctx, "null", values.unixSocket));
    const config = deviceConfig({
      ...settings,
      deviceSizeBytes: settings.deviceSizeBytes ?? NULL_DEVICE_BYTES,
      target: { type: "null" },
    });
    return startDevice(ctx, config, values);
  },
});

export const addCommand = defineGroup({
  name: "add",
  summary: "Start a device",
  description: "The targets are io-replica, and the bare loop and null.",
  commands: [addReplica, addLoop, addNull],
});

/** Runs the device here, or starts the daemon that does. */
async function startDevice(
  ctx: Context,
  config: DeviceConfig,
  values: SharedValues,
): Promise<void> {
  await ctx.platform.checkMachine(config);
  if (!values.foreground) {
    const onProgress = values.quiet ? () => {} : progressPrinter(ctx);
    const report = await launchDaemon(ctx, { config, logFile: values.logFile, onProgress });
    if (!values.quiet) ctx.stdout.write(readyText(report, config, values.json));
    return;
  }
  const logFile = values.logFile ?? null;
  await runDaemon(ctx, {
    config,
    version: deno.version,
    logFile,
    onReady(report) {
      if (!values.quiet) ctx.stdout.write(readyText(report, config, values.json));
    },
  });
}

/** Prints progress when the stage changes, and every few seconds otherwise. */
function progressPrinter(ctx: Context): (progress: DeviceProgress) => void {
  let stage = "";
  let printedMs = -Infinity;
  return (progress) => {
    const nowMs = ctx.clock.nowMs();
    if (progress.stage === stage && nowMs - printedMs < PROGRESS_MS) return;
    stage = progress.stage;
    printedMs = nowMs;
    ctx.stderr.write(`starting: ${progressText(progress)}\n`);
  };
}
