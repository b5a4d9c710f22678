// Logging: one line per event on stderr, fixed message text, variable data as properties.
// One category per room ("main", "queue", "replicator"); nothing here runs per I/O.

import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  type Logger,
  type LogRecord,
} from "@logtape/logtape";
import { systemReason, usageError } from "./errors.ts";

export type LogFormat = "text" | "json";
export type LogLevel = "debug" | "info" | "warning" | "error";

function quote(value: unknown): string {
  const text = typeof value === "string" ? value : Deno.inspect(value, { colors: false });
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}

function formatText(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString();
  const room = record.category.at(-1) ?? "-";
  const values = Object.entries(record.properties)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${quote(value)}`);
  return `${time} ${record.level} ${room} ${record.message.join("")}${values.join("")}\n`;
}

const encoder = new TextEncoder();

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** File to append to; stderr when there is none. */
  readonly file?: string | null;
}

/** Sets up this thread's logging; each room calls it once. */
export function configureLog(options: LogOptions): void {
  const format = options.format === "json" ? getJsonLinesFormatter() : formatText;
  const { file = null } = options;
  const target = file === null ? Deno.stderr : openLog(file);
  configureSync({
    reset: true,
    sinks: { lines: (record) => void target.writeSync(encoder.encode(format(record))) },
    loggers: [
      { category: "io-replica", lowestLevel: options.level, sinks: ["lines"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["lines"] },
    ],
  });
}

/** Appending, so that every room may write to the same file and a rotation may truncate it. */
function openLog(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { append: true, create: true, mode: 0o600 });
  } catch (cause) {
    throw usageError(`Cannot open the log file "${path}": ${systemReason(cause)}`, {
      cause,
      hint: "Give a --log-file that this user may write, in a directory that exists.",
    });
  }
}

/** The logger of a room. Call as `log.info("Checkpoint committed", { cno, bytes })`. */
export function roomLog(room: string): Logger {
  return getLogger(["io-replica", room]);
}
