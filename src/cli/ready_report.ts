// What `add` says about a device that became usable. A detached daemon sends it as one JSON line over
// its ready pipe (or the error that stopped it), and the waiting parent prints it.

import { type ErrorReport, isErrorReport } from "../base/error_report.ts";
import { parseJsonObject } from "../base/json.ts";
import { formatSize } from "../base/units.ts";
import type { DeviceConfig } from "../config.ts";
import type { DeviceParameters, DeviceProgress } from "../control/running_device.ts";

export interface ReadyReport {
  readonly parameters: DeviceParameters;
  readonly pid: number;
  readonly socket: string;
  readonly logFile: string | null;
}

/** A line of a ready pipe: any number of progress, then how the start ended. */
export type ReadyMessage =
  | { readonly progress: DeviceProgress }
  | { readonly ready: ReadyReport }
  | { readonly error: ErrorReport };

/** Reads the line of a ready pipe; null when it is none. */
export function parseReadyMessage(line: string): ReadyMessage | null {
  const message = parseJsonObject(line);
  if (message === null) return null;
  if (isErrorReport(message.error)) return { error: message.error };
  const known = message.ready ?? message.progress;
  return typeof known === "object" && known !== null ? message as ReadyMessage : null;
}

/** The device on its own line, for scripts; its parameters below it. */
export function readyText(report: ReadyReport, config: DeviceConfig, json: boolean): string {
  if (json) return JSON.stringify({ ...report, target: config.target.type }) + "\n";
  const { parameters: device } = report;
  const queues = device.queues === 1 ? "1 queue" : `${device.queues} queues`;
  const lines = [
    device.path,
    `  size      ${formatSize(device.sizeBytes)}${device.readOnly ? ", read-only" : ""}`,
    `  queues    ${queues} of depth ${device.depth}, requests up to ${
      formatSize(device.bufferBytes)
    }`,
    `  blocks    ${device.logicalBlockBytes} bytes logical, ${device.physicalBlockBytes} physical`,
    ...targetLines(config),
    `  socket    ${report.socket}`,
    `  daemon    pid ${report.pid}, log ${report.logFile ?? "on stderr"}`,
  ];
  return lines.join("\n") + "\n";
}

function targetLines({ target }: DeviceConfig): string[] {
  switch (target.type) {
    case "null":
      return ["  target    null: writes are dropped, reads give whatever was in the buffers"];
    case "loop":
      return [`  target    ${target.path}, without a replica`];
    case "io-replica":
      return [
        `  primary   ${target.path}`,
        `  replica   ${target.replica.uri}`,
        `  uuid      ${target.uuid}`,
        `  pool      ${formatSize(target.poolBytes)}`,
      ];
  }
}
