// `export`: writes a replica, at its head or at a checkpoint, to an image file or a device.

import { defineCommand } from "./command.ts";
import { flagOption, integerOption, laterError, textOption } from "./options.ts";

export const exportCommand = defineCommand({
  name: "export",
  summary: "Write a replica to an image file or a device",
  description:
    "Reads the newest checkpoint, or an older one, with many range reads at once. Image files " +
    "are sparse: holes and zero blocks take no space. Works without ublk and without the primary.",
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
    concurrency: integerOption("--concurrency <N>", {
      summary: "Range reads at the same time",
      default: 16,
    }),
    force: flagOption("--force", { summary: "Overwrite an existing file or a device" }),
    quiet: flagOption("--quiet", { summary: "No progress bar" }),
  },
  examples: [
    ["export --replica file:///srv/replicas/UUID -o disk.img", "The newest checkpoint"],
    ["export --replica s3://backups/hosts/UUID -o disk.img --at 42", "Checkpoint 42"],
  ],
  run() {
    return Promise.reject(laterError("Cannot export"));
  },
});
