// What the command line says when something goes wrong, and with which exit code: two lines on
// stderr for people ("error:" and "hint:"), one JSON object for programs.

import { reportOf } from "../base/error_report.ts";
import { EXIT_CODES, ReplicaError } from "../base/errors.ts";
import type { Context, SignalName } from "./context.ts";

export const PROGRAM = "hyper-io-replica";

/** Exit code of an exception that is no ReplicaError: a bug of ours. */
export const EXIT_BUG = 1;

export function exitCodeOf(error: unknown): number {
  return error instanceof ReplicaError ? EXIT_CODES[error.kind] : EXIT_BUG;
}

/** Says on stderr why the command failed; returns its exit code. */
export function reportFailure(ctx: Context, error: unknown): number {
  const { argv } = ctx;
  const exitCode = interruptedCode(ctx, error) ?? exitCodeOf(error);
  const how = { json: argv.includes("--json"), debug: wantsDebug(argv), exitCode };
  ctx.stderr.write(formatError(error, how));
  return exitCode;
}

/** --log-level debug; looked for here because the error may be about the rest of the command line. */
function wantsDebug(argv: readonly string[]): boolean {
  return argv.some((word, i) =>
    word === "--log-level=debug" || (word === "--log-level" && argv[i + 1] === "debug")
  );
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

/** The text for stderr. */
export function formatError(
  error: unknown,
  options: { json: boolean; debug: boolean; exitCode: number },
): string {
  const report = reportOf(error);
  if (options.json) {
    return JSON.stringify({ error: { ...report, exitCode: options.exitCode } }) + "\n";
  }
  const lines = [`${PROGRAM}: error: ${report.message}`];
  const values = Object.entries(report.context ?? {})
    .filter(([, value]) => !report.message.includes(String(value)))
    .map(([key, value]) => `${key}=${value}`);
  if (values.length > 0) lines.push(`  with ${values.join(" ")}`);
  if (report.hint !== undefined) lines.push(`hint: ${report.hint}`);
  if (report.kind === "bug") {
    lines.push("hint: This is a bug; please report it with the lines below and the log.");
  }
  if (error instanceof Error && (report.kind === "bug" || options.debug)) {
    lines.push(error.stack ?? "", ...causes(error));
  }
  return lines.join("\n") + "\n";
}

function causes(error: Error): string[] {
  if (error.cause === undefined) return [];
  if (!(error.cause instanceof Error)) return [`caused by ${String(error.cause)}`];
  return [`caused by ${error.cause.stack ?? error.cause.message}`, ...causes(error.cause)];
}
