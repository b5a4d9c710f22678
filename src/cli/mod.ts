// The command line of people and scripts: the table of all commands, and run(), which turns a Context
// into an exit code.
// One command is one file next to this one; command.ts shows how it is declared.

import deno from "../../deno.json" with { type: "json" };
import { configureLog } from "../base/log.ts";
import type { Command, CommonValues } from "./command.ts";
import type { Context } from "./context.ts";
import { buildProgram, parseCommandLine, type ProgramTexts } from "./program.ts";
import { reportFailure } from "./report.ts";

type CommandLoader = () => Promise<Command>;

/** The commands under their headings; one that is not wanted is not loaded. */
const COMMANDS: readonly (readonly [string, Readonly<Record<string, CommandLoader>>])[] = [
  ["Devices:", {
    format: async () => (await import("./format.ts")).formatCommand,
    add: async () => (await import("./add.ts")).addCommand,
    del: async () => (await import("./del.ts")).delCommand,
    list: async () => (await import("./list.ts")).listCommand,
    stop: async () => (await import("./stop.ts")).stopCommand,
  }],
  ["Watching:", {
    status: async () => (await import("./status.ts")).statusCommand,
    stats: async () => (await import("./stats.ts")).statsCommand,
    features: async () => (await import("./features.ts")).featuresCommand,
  }],
  ["Replicas:", {
    mode: async () => (await import("./mode.ts")).modeCommand,
    verify: async () => (await import("./verify.ts")).verifyCommand,
    export: async () => (await import("./export.ts")).exportCommand,
    inspect: async () => (await import("./inspect.ts")).inspectCommand,
  }],
  ["Not in this version (refused):", {
    checkpoint: async () => (await import("./later.ts")).checkpointCommand,
    restore: async () => (await import("./later.ts")).restoreCommand,
    recover: async () => (await import("./later.ts")).recoverCommand,
  }],
];

/** The command that the line begins with; all of them for help and for what is not understood. */
async function loadCommands([word]: readonly string[]): Promise<ProgramTexts["commands"]> {
  const isWanted = COMMANDS.some(([, loaders]) => Object.hasOwn(loaders, word ?? ""))
    ? (name: string) => name === word
    : () => true;
  return await Promise.all(COMMANDS.map(async ([heading, loaders]) => {
    const wanted = Object.entries(loaders).filter(([name]) => isWanted(name));
    return [heading, await Promise.all(wanted.map(([, load]) => load()))] as const;
  }));
}

const TEXTS: Omit<ProgramTexts, "commands"> = {
  version: deno.version,
  description:
    "Asynchronous replication of block devices: a ublk device in front of a fast local drive, " +
    "with a replica on S3 or in a directory that trails it by less than a second.",
  notes: `Sizes take B, KiB, MiB, GiB and TiB; K, M, G and T mean the same binary units.

Exit codes:
  0  success
  1  a bug of this program; the lines on stderr are worth a report
  2  wrong command line or configuration: fix it and repeat
  3  stored data contradicts its format, or identities do not match
  4  a service or the daemon does not answer now: repeat later
  5  another writer holds the replica, or took it over
  6  the kernel or the ublk driver refused
  129, 130, 143  ended by SIGHUP, SIGINT or SIGTERM before it was done

Environment:
  AWS_*                     credentials, region and endpoint for s3:// replicas
  HYPER_IO_REPLICA_RUN_DIR  state files and logs of daemons [default: /run/hyper-io-replica]`,
};

/** Runs the command line in `ctx.argv`; never throws. */
export async function run(ctx: Context): Promise<number> {
  let code = 0;
  async function chosen(
    command: Command,
    values: Readonly<Record<string, unknown>>,
    args: readonly (string | undefined)[],
  ): Promise<void> {
    const { logLevel, logFormat, logFile } = values as unknown as CommonValues;
    configureLog({ level: logLevel, format: logFormat, file: logFile });
    code = (await command.execute?.(ctx, values, args)) ?? 0;
  }
  try {
    const texts = { ...TEXTS, commands: await loadCommands(ctx.argv) };
    await parseCommandLine(buildProgram(ctx, texts, chosen), ctx.argv);
    return code;
  } catch (error) {
    return reportFailure(ctx, error);
  }
}
