// Logging: one line per event on stderr, fixed message text, variable data as properties.
// One category per room ("main", "queue", "replicator"); nothing here runs per I/O.

import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  type Logger,
  type LogRecord,
} from "@logtape/logtape";

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

/** Sets up this thread's logging; each room calls it once. */
export function configureLog(options: { level: LogLevel; format: LogFormat }): void {
  const format = options.format === "json" ? getJsonLinesFormatter() : formatText;
  configureSync({
    reset: true,
    sinks: { stderr: (record) => void Deno.stderr.writeSync(encoder.encode(format(record))) },
    loggers: [
      { category: "io-replica", lowestLevel: options.level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}

/** The logger of a room. Call as `log.info("Checkpoint committed", { cno, bytes })`. */
export function roomLog(room: string): Logger {
  return getLogger(["io-replica", room]);
}
