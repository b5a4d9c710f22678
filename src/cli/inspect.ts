// `inspect`: decodes the metadata of a primary or a replica, read-only, and goes on past corruption.

import { usageError } from "../base/errors.ts";
import { checkRange } from "../base/range.ts";
import { parseReplicaUri } from "../replica/replica_uri.ts";
import { SEGMENT_ID_MAX } from "../format/block_ptr.ts";
import { defineCommand } from "./command.ts";
import { runInspectPrimary } from "./inspect_primary.ts";
import { runInspectReplica } from "./inspect_replica.ts";
import { integerOption } from "./options.ts";
import { replicaLocation } from "./replica_access.ts";
import { s3ConfigOf, s3Options } from "./s3_options.ts";

const LIMIT_DEFAULT = 1000;
const LIMIT_MAX = 10_000_000;

/** What of a replica can be looked at. */
export type ReplicaView = "replica" | "inode" | "segment" | "tree";
const REPLICA_VIEWS: readonly ReplicaView[] = ["replica", "inode", "segment", "tree"];

export const inspectCommand = defineCommand({
  name: "inspect",
  summary: "Decode the metadata of a primary or a replica",
  description:
    "Shows superblock, layout and flush log of a primary; or side-car, inode and checkpoints of a " +
    "replica, one of its segments, or the whole tree of a checkpoint with the space that it uses. " +
    "Never writes, needs no ublk, and goes on past what it cannot decode: exit code 3 says that " +
    "there was something. Reads replicas that other Hyperfile tools wrote.",
  options: {
    at: integerOption("--at <CNO>", {
      summary: "The checkpoint to look at, for replica, inode and tree",
      defaultText: "the newest",
    }),
    limit: integerOption("--limit <N>", {
      summary: "Longest list of a replica; up to 1000 damaged entries come in addition",
      defaultText: String(LIMIT_DEFAULT),
    }),
    ...s3Options,
  },
  arguments: [
    {
      name: "what",
      summary: "primary, replica, inode, segment or tree - or at once a primary or a URI",
      required: true,
    },
    { name: "where", summary: "a primary (device or file), or a replica's URI", required: false },
    { name: "number", summary: "of the segment", required: false },
  ],
  examples: [
    ["inspect /dev/nvme0n1", "Superblock, layout and flush log of a primary"],
    ["inspect s3://backups/hosts/UUID", "Side-car, inode and checkpoints of a replica"],
    ["inspect segment file:///srv/replicas/UUID 42", "Header, entries and nodes of segment 42"],
    ["inspect tree file:///srv/replicas/UUID --at 42", "Every node that checkpoint 42 uses"],
  ],
  async run(ctx, values, args) {
    const { what, where, number } = targetOf(args);
    const { at, limit = LIMIT_DEFAULT, json } = values;
    checkRange("--at", at ?? 1, 1, SEGMENT_ID_MAX);
    checkRange("--limit", limit, 0, LIMIT_MAX);
    const s3 = s3ConfigOf(values);
    if (what === "primary") {
      const s3Option = Object.keys(s3).length === 0 ? undefined : s3;
      refuseFor("a primary", { "--at": at, "--limit": values.limit, "--s3-…": s3Option, number });
      return await runInspectPrimary(ctx, where, { json });
    }
    const location = replicaLocation(where, "the replica", s3);
    if (what !== "segment") refuseFor(`"inspect ${what}"`, { number });
    else refuseFor('"inspect segment"', { "--at": at });
    const segmentId = what === "segment" ? segmentIdOf(number) : undefined;
    return await runInspectReplica(ctx, {
      view: what,
      location,
      s3,
      cno: segmentId ?? at,
      limit,
      json,
    });
  },
});

interface InspectTarget {
  readonly what: "primary" | ReplicaView;
  readonly where: string;
  readonly number: string | undefined;
}

/** The arguments, with the word that may be left out put in. */
function targetOf([first = "", where, number]: readonly (string | undefined)[]): InspectTarget {
  const view = REPLICA_VIEWS.find((name) => name === first);
  const what = first === "primary" ? first : view;
  if (what !== undefined) {
    if (where === undefined) {
      throw usageError(`Cannot inspect ${what}: it is not said where`, {
        hint: `Write "inspect ${what} …"; ./${what} is the file of that name.`,
      });
    }
    return { what, where, number };
  }
  if (where !== undefined) {
    throw usageError(`Cannot inspect "${first}": it is not a known word`, {
      hint: `Write one of primary, ${REPLICA_VIEWS.join(", ")} before ${where}.`,
    });
  }
  const { type } = parseReplicaUri(first, "what");
  return { what: type === "raw" ? "primary" : "replica", where: first, number };
}

function refuseFor(what: string, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined) throw usageError(`Cannot use ${name} with ${what}`);
  }
}

function segmentIdOf(text: string | undefined): number {
  if (text === undefined) {
    throw usageError("Cannot inspect segment: its number is missing after the URI");
  }
  const id = /^\d+$/.test(text) ? Number(text) : 0;
  if (id < 1 || id > SEGMENT_ID_MAX) {
    throw usageError(`Cannot inspect segment ${text}: it is not a segment's number`);
  }
  return id;
}
