// What a daemon says about itself in its state file, written by one version of the program and read by
// perhaps another one. So what is read is checked here by hand, member by member, as far as anybody uses
// it. Pure. Caller: run_directory.ts.

import { parseJsonObject } from "../base/json.ts";
import type { DeviceConfig } from "../config.ts";

/** What a daemon writes. */
export interface DaemonState extends StoredState {
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  /** Absolute path; null: the log went to stderr. */
  readonly logFile: string | null;
  readonly config: DeviceConfig;
}

/** What a state file is known to have; the rest is there for people. */
export interface StoredState {
  readonly version: 1;
  readonly number: number;
  /** "/dev/ublkb0" */
  readonly device: string;
  readonly pid: number;
  /** Start of the process in clock ticks since boot: tells it from a later one with its pid. */
  readonly pidStart: number;
  /** Absolute path. */
  readonly socket: string;
  readonly deviceSizeBytes: number;
  readonly config: { readonly target: StoredTarget };
}

/** What stands behind the device. `path`: the primary. */
export type StoredTarget =
  | { readonly type: "null" }
  | { readonly type: "loop"; readonly path: string }
  | {
    readonly type: "io-replica";
    readonly path: string;
    readonly uuid: string;
    readonly replica: { readonly uri: string };
  };

/** The state of device `number` that `text` is; null for one of another version, and for anything else. */
export function parseState(text: string, number: number): StoredState | null {
  const fields = parseJsonObject(text);
  return fields !== null && fields.number === number && isStoredState(fields) ? fields : null;
}

function isStoredState(fields: Record<string, unknown>): fields is Fields<StoredState> {
  const { version, number, device, pid, pidStart, socket, deviceSizeBytes, config } = fields;
  return version === 1 && isNatural(number) && typeof device === "string" &&
    isNatural(pid) && pid > 0 && isNatural(pidStart) && typeof socket === "string" &&
    isNatural(deviceSizeBytes) && isObject(config) && isStoredTarget(config.target);
}

function isStoredTarget(target: unknown): target is StoredTarget {
  if (!isObject(target)) return false;
  const { type, path, uuid, replica } = target;
  switch (type) {
    case "null":
      return true;
    case "loop":
      return typeof path === "string";
    case "io-replica":
      return typeof path === "string" && typeof uuid === "string" && isObject(replica) &&
        typeof replica.uri === "string";
    default:
      return false;
  }
}

/** An interface's members, of an object whose others are not known. */
type Fields<T> = Record<string, unknown> & T;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isNatural(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
