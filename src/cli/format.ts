// `format`: writes the metadata of a new device onto a primary and creates its replica.

import { MiB } from "../base/units.ts";
import { defineCommand } from "./command.ts";
import { flagOption, laterError, sizeOption, textOption } from "./options.ts";

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
      default: 8 * MiB,
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
      summary: "Format although the primary is already formatted or holds a file system",
    }),
  },
  examples: [
    ["format -f /dev/nvme0n1 --replica s3://backups/hosts", "A drive with a replica on S3"],
    ["format -f disk.img --replica file:///srv/replicas", "An image file, replica in a directory"],
  ],
  run() {
    return Promise.reject(laterError("Cannot format"));
  },
});
