// `inspect`: decodes the metadata of a primary or a replica, read-only, and goes on past corruption.

import { defineCommand } from "./command.ts";
import { laterError } from "./options.ts";

export const inspectCommand = defineCommand({
  name: "inspect",
  summary: "Decode the metadata of a primary or a replica",
  description:
    "Shows superblock and flush log of a primary, or inode, segments and tree of a replica. " +
    "Never writes, and goes on past what it cannot decode.",
  options: {},
  arguments: [{
    name: "what",
    summary: "a primary (device or file) or a replica's URI",
    required: true,
  }],
  run() {
    return Promise.reject(laterError("Cannot inspect"));
  },
});
