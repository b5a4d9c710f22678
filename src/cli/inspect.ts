// `inspect`: decodes the metadata of a primary or a replica, read-only, and goes on past corruption.

import { defineCommand } from "./command.ts";
import { parseReplicaUri } from "../replica/replica_uri.ts";
import { runInspectPrimary } from "./inspect_primary.ts";
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
  examples: [["inspect /dev/nvme0n1", "Superblock, layout and flush log of a primary"]],
  run(ctx, { json }, [what]) {
    const location = parseReplicaUri(what ?? "", "what");
    if (location.type === "raw") return runInspectPrimary(ctx, location.path, { json });
    return Promise.reject(laterError("Cannot inspect a replica"));
  },
});
