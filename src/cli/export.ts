// `export`: writes a replica, at its head or at a checkpoint, to an image file or a device.

import { dataError, ReplicaError, usageError } from "../base/errors.ts";
import { checkRange } from "../base/range.ts";
import { formatSize } from "../base/units.ts";
import { copyCheckpoint } from "../exporter/copy.ts";
import { inspectOutput, openOutput } from "../exporter/output.ts";
import type { ExportTarget } from "../exporter/target.ts";
import { SEGMENT_ID_MAX } from "../format/block_ptr.ts";
import { HyperfileReader } from "../replica/hyperfile_reader.ts";
import { nearestCheckpoints } from "../replica/nearest_checkpoints.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { readDeviceCard } from "../replica/read_device_card.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { formatDuration } from "./duration.ts";
import { flagOption, integerOption, sizeOption, textOption } from "./options.ts";
import { replicaLocation, withReplica } from "./replica_access.ts";
import { s3ConfigOf, s3Options } from "./s3_options.ts";
import { TransferProgress } from "./transfer_progress.ts";

const CONCURRENCY_MAX = 64;

interface ExportRequest {
  readonly at: number | undefined;
  readonly deviceSize: number | undefined;
  readonly concurrency: number;
  readonly force: boolean;
  readonly quiet: boolean;
}

/** What was written, as `--json` prints it. */
interface ExportReport {
  readonly replicaUri: string;
  readonly uuid: string | null;
  readonly cno: number;
  /** When the checkpoint was cut; null when its writer did not say. */
  readonly checkpointMs: number | null;
  readonly output: string;
  readonly kind: ExportTarget["kind"];
  readonly sizeBytes: number;
  readonly dataBytes: number;
  readonly durationMs: number;
}

export const exportCommand = defineCommand({
  name: "export",
  summary: "Write a replica to an image file or a device",
  description:
    "Reads the newest checkpoint, or an older one, with many range reads at once. Image files " +
    "are sparse: holes and zero blocks take no space. Works without ublk and without the primary, " +
    "also while the device is running, and on replicas that other Hyperfile tools wrote.",
  options: {
    replica: textOption("--replica <URI>", {
      summary: "The replica: s3://bucket/key or file:///directory, as format printed it",
      required: true,
    }),
    output: textOption("-o, --output <FILE>", {
      summary: "Image file to create, or a block device to overwrite",
      required: true,
    }),
    at: integerOption("--at <CNO>", {
      summary: "Number of the checkpoint",
      defaultText: "the newest",
    }),
    deviceSize: sizeOption("--device-size <SIZE>", {
      summary: "Size of the image",
      defaultText: "the device's; for replicas of other tools, the file's",
    }),
    concurrency: integerOption("--concurrency <N>", {
      summary: "Range reads at the same time, 1 to 64",
      default: 16,
    }),
    force: flagOption("--force", { summary: "Overwrite an existing file or a device" }),
    quiet: flagOption("--quiet", { summary: "No progress" }),
    ...s3Options,
  },
  examples: [
    ["export --replica file:///srv/replicas/UUID -o disk.img", "The newest checkpoint"],
    ["export --replica s3://backups/hosts/UUID -o disk.img --at 42", "Checkpoint 42"],
    ["export --replica s3://backups/hosts/UUID -o /dev/nvme2n1 --force", "Onto a new drive"],
  ],
  notes:
    "An image is written as FILE.partial and gets its name when it is whole and on disk, so one that " +
    'was interrupted is never taken for whole. "inspect replica URI" lists the checkpoints. Devices ' +
    "in use and primaries are refused, with --force too.",
  async run(ctx, values) {
    checkNumbers(values);
    const s3 = s3ConfigOf(values);
    const location = replicaLocation(values.replica, "--replica", s3);
    const output = await inspectOutput(values.output, values);
    const report = await withReplica(ctx, { location, s3 }, async (store) => {
      const { concurrency, force } = values;
      const reader = await openReader(store, values, ctx.signal);
      const { sizeBytes, uuid } = await imageOf(store, reader, values.deviceSize);
      const { dataBlockBytes } = reader;
      const target = await openOutput(output, { sizeBytes, dataBlockBytes, force });
      const copied = await copyTo(ctx, { reader, target, sizeBytes, ...values, concurrency });
      return reportOf(store, reader, { uuid, sizeBytes, target, ...copied });
    });
    ctx.stdout.write(values.json ? JSON.stringify(report, null, 2) + "\n" : reportText(report));
  },
});

function checkNumbers({ at, concurrency }: ExportRequest): void {
  checkRange("--at", at ?? 1, 1, SEGMENT_ID_MAX);
  checkRange("--concurrency", concurrency, 1, CONCURRENCY_MAX);
}

async function openReader(
  store: ObjectStore,
  { at, concurrency }: ExportRequest,
  signal: AbortSignal,
): Promise<HyperfileReader> {
  try {
    const reader = await HyperfileReader.open(store, { cno: at, concurrency, signal });
    if (reader.cno > 0) return reader;
  } catch (error) {
    if (at === undefined || !(error instanceof ReplicaError) || error.kind !== "usage") throw error;
    const near = await nearestCheckpoints(store, at, { signal });
    const hint = near.length === 0
      ? "The replica has no checkpoint."
      : `The nearest are ${near.join(", ")}.`;
    throw usageError(error.message, { hint, context: error.context, cause: error });
  }
  throw usageError(`Cannot export ${store.uri}: it has no checkpoint yet`, {
    hint: "The first one is cut when the device has been added and its first copy is complete.",
  });
}

/** The size of the image, and the device that it is of where the replica says so. */
async function imageOf(
  store: ObjectStore,
  reader: HyperfileReader,
  wantedBytes: number | undefined,
): Promise<{ sizeBytes: number; uuid: string | null }> {
  let sizeBytes = wantedBytes;
  let uuid = null;
  // With a size from the operator, a damaged side-car does not stand in the way.
  if (sizeBytes === undefined) {
    const card = await readCard(store);
    uuid = card?.uuid ?? null;
    sizeBytes = card?.deviceSizeBytes ?? reader.sizeBytes;
  }
  if (sizeBytes >= reader.sizeBytes) return { sizeBytes, uuid };
  const sizes = `${sizeBytes} bytes are less than the ${reader.sizeBytes} that the replica has`;
  if (wantedBytes !== undefined) throw usageError(`Cannot use --device-size: ${sizes}`);
  throw dataError(`Cannot export ${store.uri}: the device's ${sizes}`, {
    hint: "Give the size that you want by --device-size.",
  });
}

async function readCard(store: ObjectStore) {
  try {
    return await readDeviceCard(store);
  } catch (error) {
    if (!(error instanceof ReplicaError) || error.kind !== "data") throw error;
    throw dataError(error.message, {
      hint: "Give the device's size by --device-size to export without it.",
      context: error.context,
      cause: error,
    });
  }
}

async function copyTo(
  ctx: Context,
  copy: {
    reader: HyperfileReader;
    target: ExportTarget;
    sizeBytes: number;
    concurrency: number;
    quiet: boolean;
  },
): Promise<{ dataBytes: number; durationMs: number }> {
  const { reader, target, sizeBytes, concurrency } = copy;
  const startMs = ctx.clock.nowMs();
  try {
    const progress = copy.quiet
      ? null
      : new TransferProgress(ctx.stderr, { clock: ctx.clock, totalBytes: sizeBytes });
    try {
      const dataBytes = await copyCheckpoint(reader, target, {
        sizeBytes,
        concurrency,
        signal: ctx.signal,
        onProgress: (state) => progress?.update(state),
      });
      await target.finish();
      return { dataBytes, durationMs: Math.round(ctx.clock.nowMs() - startMs) };
    } finally {
      progress?.stop();
    }
  } catch (error) {
    if (target.kind === "block device") {
      ctx.stderr.write(`note: ${target.path} now holds a part of the image only\n`);
    }
    throw error;
  } finally {
    await target.close();
  }
}

function reportOf(
  store: ObjectStore,
  reader: HyperfileReader,
  done: {
    uuid: string | null;
    sizeBytes: number;
    target: ExportTarget;
    dataBytes: number;
    durationMs: number;
  },
): ExportReport {
  const { mtime, mtimeNsec } = reader.inode;
  const { target, uuid, sizeBytes, dataBytes, durationMs } = done;
  return {
    replicaUri: store.uri,
    uuid,
    cno: reader.cno,
    checkpointMs: mtime === 0n ? null : Number(mtime) * 1000 + Math.floor(mtimeNsec / 1e6),
    output: target.path,
    kind: target.kind,
    sizeBytes,
    dataBytes,
    durationMs,
  };
}

function reportText(report: ExportReport): string {
  const { cno, output, sizeBytes, dataBytes, durationMs, checkpointMs } = report;
  const time = checkpointMs === null ? null : new Date(checkpointMs);
  const when = time === null || Number.isNaN(time.getTime()) ? "" : ` of ${time.toISOString()}`;
  const seconds = Math.max(0.001, durationMs / 1000);
  return `checkpoint ${cno}${when} exported to ${output}: ${formatSize(sizeBytes)} image, ` +
    `${formatSize(dataBytes)} of data in ${formatDuration(durationMs)} ` +
    `(${formatSize(Math.round(dataBytes / seconds))}/s)\n`;
}
