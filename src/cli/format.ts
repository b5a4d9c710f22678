// `format`: writes the metadata of a new device onto a primary and creates its replica.

import { usageError } from "../base/errors.ts";
import { checkS3 } from "../config.ts";
import type { DeviceCard } from "../format/device_card.ts";
import {
  formatLine,
  formatPrimary,
  type FormatResult,
  REGION_BYTES_DEFAULT,
} from "../primary/format.ts";
import { NewReplica } from "../replica/new_replica.ts";
import { openObjectStore } from "../replica/open.ts";
import { parseReplicaUri, type ReplicaLocation } from "../replica/replica_uri.ts";
import type { S3Config } from "../replica/s3_settings.ts";
import { ONE_SHOT_RETRY } from "../replica/retry_store.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { flagOption, sizeOption, textOption } from "./options.ts";
import { retryNote } from "./replica_access.ts";
import { s3ConfigOf, s3Options } from "./s3_options.ts";

export const formatCommand = defineCommand({
  name: "format",
  summary: "Prepare a primary and create its replica",
  description:
    "Writes superblock, flush log and maps to the end of the primary, and creates an empty " +
    "replica below ROOT-URI. The last line of its output names the new device's UUID and the " +
    'replica_uri, which "add io-replica" needs. The data area of the primary is left as it is.',
  options: {
    file: textOption("-f, --file <FILE>", {
      summary: "Primary: a block device or a regular file",
      required: true,
    }),
    deviceSize: sizeOption("--device-size <SIZE>", {
      summary: "Size of the device",
      defaultText: "the primary less the metadata area",
    }),
    regionSize: sizeOption("--region-size <SIZE>", {
      summary: "Granule of consistency tracking",
      default: REGION_BYTES_DEFAULT,
    }),
    replica: textOption("--replica <ROOT-URI>", {
      summary: "Root below which the replica is created: s3://bucket/key or file:///directory",
      defaultText: "no replica",
    }),
    metaBlockSize: sizeOption("--meta-block-size <SIZE>", {
      summary: "Block size of the replica's tree",
      default: 4096,
    }),
    dataBlockSize: sizeOption("--data-block-size <SIZE>", {
      summary: "Block size of the replica's data",
      default: 4096,
    }),
    force: flagOption("--force", {
      summary: "Format although the primary is already formatted or its file system loses its end",
    }),
    acceptUnsafeStore: flagOption("--accept-unsafe-store", {
      summary: "Use an S3 server without working conditional writes; add needs the option as well",
    }),
    ...s3Options,
  },
  examples: [
    ["format -f /dev/nvme0n1 --replica s3://backups/hosts", "A drive with a replica on S3"],
    ["format -f disk.img --replica file:///srv/replicas", "An image file, replica in a directory"],
  ],
  notes:
    "Data on the primary is kept and becomes the device's content. The primary must not be mounted, " +
    "used as swap, held by another device or in use by a daemon; --force does not change that.",
  async run(ctx, values) {
    const s3 = s3ConfigOf(values);
    const { acceptUnsafeStore } = values;
    const root = rootOf(values.replica, s3);
    const result = await formatPrimary({
      path: values.file,
      deviceSizeBytes: values.deviceSize,
      regionBytes: values.regionSize,
      metaBlockBytes: values.metaBlockSize,
      dataBlockBytes: values.dataBlockSize,
      replicaRoot: root?.uri,
      force: values.force,
    }, {
      clock: ctx.clock,
      replicaAt: (uri, card) => replicaAt(ctx, { uri, card, s3, acceptUnsafeStore }),
    });
    for (const note of result.notes) ctx.stderr.write(`note: ${note}\n`);
    ctx.stdout.write(values.json ? jsonOf(result) : `${formatLine(result)}\n`);
  },
});

/** Checks the place of the replica before anything is opened; null: a device without one. */
function rootOf(text: string | undefined, s3: S3Config): ReplicaLocation | null {
  if (text === undefined) {
    if (Object.keys(s3).length === 0) return null;
    throw usageError("Cannot use --s3-… options: there is no --replica");
  }
  const root = parseReplicaUri(text, "--replica");
  if (root.type === "raw") {
    throw usageError(`Cannot use --replica "${text}": a root is a place for objects`, {
      hint: "Use s3://bucket/key or file:///directory.",
    });
  }
  checkS3(root, s3);
  return root;
}

function replicaAt(
  ctx: Context,
  { uri, card, s3, acceptUnsafeStore }: {
    uri: string;
    card: DeviceCard;
    s3: S3Config;
    acceptUnsafeStore: boolean;
  },
): NewReplica {
  const location = parseReplicaUri(uri, "--replica");
  return new NewReplica({
    card,
    acceptUnsafeStore,
    signal: ctx.signal,
    openStore: () =>
      openObjectStore(location, {
        access: "create",
        retry: ONE_SHOT_RETRY,
        s3,
        clock: ctx.clock,
        onRetry: retryNote(ctx),
      }),
  });
}

function jsonOf({ uuid, replicaUri, layout, continued, notes }: FormatResult): string {
  const { deviceSizeBytes, regionBytes, dataBlockBytes } = layout;
  const values = {
    uuid,
    replicaUri,
    deviceSizeBytes,
    regionBytes,
    dataBlockBytes,
    continued,
    notes,
  };
  return JSON.stringify(values, null, 2) + "\n";
}
