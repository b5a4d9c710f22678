// The command line: the table of all commands, and run(), which turns a Context into an exit code.
// One command is one file next to this one; command.ts shows how it is declared.

import deno from "../../deno.json" with { type: "json" };
import { configureLog } from "../base/log.ts";
import { ReplicaError } from "../base/errors.ts";
import { addCommand } from "./add.ts";
import type { Command, CommonValues } from "./command.ts";
import type { Context, SignalName } from "./context.ts";
import { delCommand } from "./del.ts";
import { exportCommand } from "./export.ts";
import { featuresCommand } from "./features.ts";
import { formatCommand } from "./format.ts";
import { inspectCommand } from "./inspect.ts";
import { laterCommands } from "./later.ts";
import { listCommand } from "./list.ts";
import { buildProgram, parseCommandLine, type ProgramTexts } from "./program.ts";
import { exitCodeOf, formatError } from "./report.ts";
import { modeCommand } from "./mode.ts";
import { statsCommand } from "./stats.ts";
import { statusCommand } from "./status.ts";
import { stopCommand } from "./stop.ts";
import { verifyCommand } from "./verify.ts";

const TEXTS: ProgramTexts = {
  version: deno.version,
  description:
    "Asynchronous replication of block devices: a ublk device in front of a fast local drive, " +
    "with a replica on S3 or in a directory that trails it by less than a second.",
  commands: [
    ["Devices:", [formatCommand, addCommand, delCommand, listCommand, stopCommand]],
    ["Watching:", [statusCommand, statsCommand, featuresCommand]],
    ["Replicas:", [modeCommand, verifyCommand, exportCommand, inspectCommand]],
    ["Not in this version (refused):", laterCommands],
  ],
  notes: `Sizes take B, KiB, MiB, GiB and TiB; K, M, G and T mean the same binary units.

Exit codes:
  0  success
  1  a bug of this program; the lines on stderr are worth a report
  2  wrong command line or configuration: fix it and repeat
  3  stored data contradicts its format, or identities do not match
  4  a service or the daemon does not answer now: repeat later
  5  another writer is ahead: this one must not write any more
  6  the kernel or the ublk driver refused
  129, 130, 143  ended by SIGHUP, SIGINT or SIGTERM before it was done

Environment:
  AWS_*                     credentials, region and endpoint for s3:// replicas
  HYPER_IO_REPLICA_RUN_DIR  state files and logs of daemons [default: /run/hyper-io-replica]`,
};

/** Runs the command line in `ctx.argv`; never throws. */
export async function run(ctx: Context): Promise<number> {
  const wantsJson = ctx.argv.includes("--json");
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
    await parseCommandLine(buildProgram(ctx, TEXTS, chosen), ctx.argv);
    return code;
  } catch (error) {
    ctx.stderr.write(formatError(error, { json: wantsJson, debug: ctx.argv.includes("debug") }));
    return interruptedCode(ctx, error) ?? exitCodeOf(error);
  }
}

const SIGNAL_CODES: Readonly<Record<SignalName, number>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGTERM: 143,
};

/** A shell's exit code for a command that a signal ended before it was done. */
function interruptedCode(ctx: Context, error: unknown): number | undefined {
  if (!ctx.signal.aborted || !(error instanceof ReplicaError) || error.kind !== "closed") return;
  return SIGNAL_CODES[ctx.signal.reason as SignalName];
}
