// The management protocol: one JSON object per line over a unix socket. Requests come from outside
// and are checked here by hand, field by field; answers come from a daemon of perhaps another
// version: their outer form is checked here, what they answer by answer_forms.ts.
//
//   → {"command":"status"}
//   ← {"ok":true,"result":{…}}
//   → {"command":"stop"}
//   ← {"progress":{"stage":"draining the pool","pendingBytes":8388608}}      any number of these
//   ← {"ok":true,"result":{}}
//   → {"command":"set-mode","mode":"pause"}
//   ← {"ok":true,"result":{"mode":"paused","note":"…"}}
//   → {"command":"fly"}
//   ← {"ok":false,"error":{"kind":"usage","message":"…","hint":"…"}}
//
// A connection may carry several requests, one after the other. docs/operations.md lists the fields.

import { type ErrorReport, isErrorReport } from "../base/error_report.ts";
import { dataError, usageError } from "../base/errors.ts";
import { fittedOrNull, number, objectOf, optional, orNull, text } from "../base/json_form.ts";
import { WANTED_MODES, type WantedMode } from "../replication/wanted_mode.ts";
import type { DeviceProgress } from "./running_device.ts";

/** Longest line of a request, without its newline. */
export const REQUEST_BYTES_MAX = 64 * 1024;
/** Longest line of an answer: a comparison that names some 20,000 places. */
export const RESPONSE_BYTES_MAX = 2 * 1024 * 1024;

const PLAIN_COMMANDS = ["ping", "status", "stats", "stop"] as const;
const COMMANDS = [...PLAIN_COMMANDS, "set-mode", "verify"] as const;

/** Fields besides the command. */
const FIELDS: Readonly<Record<typeof COMMANDS[number], readonly string[]>> = {
  "ping": [],
  "status": [],
  "stats": [],
  "stop": [],
  "set-mode": ["mode"],
  "verify": ["repair"],
};

export type Request =
  | { readonly command: typeof PLAIN_COMMANDS[number] }
  | { readonly command: "set-mode"; readonly mode: WantedMode }
  | { readonly command: "verify"; readonly repair: boolean };

export interface PoolReport {
  readonly sizeBytes: number;
  readonly usedBytes: number;
  /** Requests that wait for room in the pool right now. */
  readonly waitingTags: number;
}

/** How far the replica is behind. */
export interface LagReport {
  /** In the pool; what a resync has still to copy comes in addition. */
  readonly bytes: number;
  readonly operations: number;
  /** Age of the oldest write that no published checkpoint has; 0: they have all. */
  readonly seconds: number;
}

export interface CheckpointReport {
  /** Number of the newest committed checkpoint; null: none yet. */
  readonly cno: number | null;
  /** When it was committed, milliseconds since the epoch; null: not by this daemon. */
  readonly committedMs: number | null;
  readonly ageSeconds: number | null;
}

/** Regions of which the replica may lack something: what a crash right now would have copied again. */
export interface DirtyReport {
  readonly regions: number;
  readonly bytes: number;
}

/** What is copied region by region because it did not get into the pool. */
export interface ResyncReport {
  /** Bytes copied since it began; what is written meanwhile may be copied more than once. */
  readonly doneBytes: number;
  readonly pendingBytes: number;
  /** Average over the last seconds; 0 while nothing is copied: paused, or the replica does not answer. */
  readonly bytesPerSecond: number;
  /** Null: not known. */
  readonly remainingSeconds: number | null;
}

/** A comparison of primary and replica that is under way. */
export interface VerifyStatusReport {
  /** Waiting: for a resync to end, or for a checkpoint. */
  readonly stage: "comparing" | "waiting";
  readonly comparedBytes: number;
  readonly pendingBytes: number;
  /** Bytes found different so far. */
  readonly differingBytes: number;
  readonly bytesPerSecond: number;
  /** Null: not known yet. */
  readonly remainingSeconds: number | null;
}

/** Averages over the last seconds. */
export interface ThroughputReport {
  readonly readBytesPerSecond: number;
  readonly writeBytesPerSecond: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  readonly replicatedBytesPerSecond: number;
}

/** Totals since the device started. */
export interface CountersReport {
  readonly reads: number;
  readonly readBytes: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly flushes: number;
  readonly discards: number;
  readonly discardedBytes: number;
  readonly writeZeroes: number;
  readonly zeroedBytes: number;
  /** Requests that failed with an I/O error. */
  readonly errors: number;
}

export interface ReplicaErrorsReport {
  /** Requests to the replica that were repeated. */
  readonly retries: number;
  /** Commits that failed and were tried again. */
  readonly failedCommits: number;
  /** The last error; null: none so far. */
  readonly last: { readonly atMs: number; readonly message: string } | null;
}

/** Answer to "status". Fields that a bare target (null, loop) lacks are null there. */
export interface StatusReport {
  readonly version: string;
  readonly uuid: string | null;
  /** "/dev/ublkb0" */
  readonly device: string;
  readonly target: "null" | "loop" | "io-replica";
  /** "logging", "forward-part", "forward-full", "paused", "detached" or "stopping". */
  readonly mode: string | null;
  readonly pid: number;
  readonly startedMs: number;
  readonly deviceSizeBytes: number;
  readonly primary: string | null;
  readonly replicaUri: string | null;
  readonly pool: PoolReport | null;
  readonly lag: LagReport | null;
  readonly checkpoint: CheckpointReport | null;
  readonly dirty: DirtyReport | null;
  /** Null where nothing is to be copied. */
  readonly resync: ResyncReport | null;
  /** Null while nobody compares. */
  readonly verify: VerifyStatusReport | null;
  readonly throughput: ThroughputReport;
  readonly counters: CountersReport;
  readonly replicaErrors: ReplicaErrorsReport | null;
  /** What the operator should know, worst first: "The replica does not answer: …". */
  readonly messages: readonly string[];
}

/** Answer to "stats": every counter by name; new ones may appear with any version. */
export interface StatsReport {
  /** When it was taken, milliseconds since the epoch: rates are differences of two reports. */
  readonly takenMs: number;
  readonly counters: Readonly<Record<string, number>>;
}

/** Answer to "set-mode". */
export interface ModeReport {
  /** The mode now; the names are those of a status. */
  readonly mode: string;
  /** What happens now, for the operator. */
  readonly note: string;
}

/** Answer to "ping": who holds the socket. */
export interface PingReport {
  readonly pid: number;
  readonly version: string;
  readonly device: string | null;
  readonly uuid: string | null;
}

/** Where the server takes its answers from; must be quick and never block. */
export interface StatusSource {
  status(): StatusReport;
  stats(): StatsReport;
}

export type Response =
  | { readonly progress: DeviceProgress }
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: ErrorReport };

/** Reads a request; a usage error says what is wrong with it. */
export function parseRequest(line: Uint8Array): Request {
  const value = parseJson(line, "the request");
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw usageError("Cannot read the request: it is not a JSON object", { hint: FORM_HINT });
  }
  return requestOf(value as Record<string, unknown>);
}

function requestOf(fields: Record<string, unknown>): Request {
  const given = fields.command;
  if (given !== undefined && typeof given !== "string") {
    throw usageError('Cannot read the request: "command" is not text', { hint: FORM_HINT });
  }
  const command = COMMANDS.find((one) => one === given);
  const known = command === undefined ? ["command"] : ["command", ...FIELDS[command]];
  const unknown = Object.keys(fields).find((field) => !known.includes(field));
  if (unknown !== undefined) {
    throw usageError(`Cannot read the request: unknown field ${shorten(unknown)}`, {
      hint: FORM_HINT,
    });
  }
  switch (command) {
    case undefined: {
      const what = given === undefined ? "no command" : `unknown command ${shorten(given)}`;
      throw usageError(`Cannot read the request: ${what}`, { hint: FORM_HINT });
    }
    case "set-mode":
      return { command, mode: wantedModeOf(fields.mode) };
    case "verify":
      return { command, repair: flagOf(fields, "repair") };
    default:
      return { command };
  }
}

function wantedModeOf(value: unknown): WantedMode {
  const mode = WANTED_MODES.find((one) => one === value);
  if (mode !== undefined) return mode;
  throw usageError(
    `Cannot read the request: "mode" is ${value === undefined ? "missing" : shorten(value)}`,
    { hint: `It is one of ${WANTED_MODES.join(", ")}.` },
  );
}

/** A field that is true or false; false when it is left out. */
function flagOf(fields: Record<string, unknown>, field: string): boolean {
  const value = fields[field] ?? false;
  if (typeof value === "boolean") return value;
  throw usageError(`Cannot read the request: "${field}" is neither true nor false`, {
    hint: FORM_HINT,
  });
}

const progressForm = objectOf<DeviceProgress>({
  stage: text,
  pendingBytes: optional(number),
  remainingMs: optional(orNull(number)),
  trouble: optional(text),
});

/** Reads one line of an answer; a data error when it is none. */
export function parseResponse(line: Uint8Array): Response {
  const value = parseJson(line, "the daemon's answer");
  if (typeof value === "object" && value !== null) {
    const fields = value as Record<string, unknown>;
    const progress = fittedOrNull(progressForm, fields.progress);
    if (progress !== null) return { progress };
    if (fields.ok === true && "result" in fields) return { ok: true, result: fields.result };
    if (fields.ok === false && isErrorReport(fields.error)) {
      return { ok: false, error: fields.error };
    }
  }
  throw dataError("Cannot read the daemon's answer: it has an unknown form", {
    hint: "Is this the socket of a hyper-io-replica daemon, of the same version?",
  });
}

const encoder = new TextEncoder();

/** One line, with its newline. */
export function encodeLine(message: Request | Response): Uint8Array {
  return encoder.encode(JSON.stringify(message) + "\n");
}

const FORM_HINT =
  `Send one JSON object per line, for example {"command":"status"}; the commands are ${
    COMMANDS.join(", ")
  }.`;

function parseJson(line: Uint8Array, what: string): unknown {
  let json: string;
  try {
    json = new TextDecoder("utf-8", { fatal: true }).decode(line);
  } catch (cause) {
    throw usageError(`Cannot read ${what}: it is not valid UTF-8`, { cause });
  }
  try {
    return JSON.parse(json);
  } catch (cause) {
    // The parser's message would repeat the input.
    throw usageError(`Cannot read ${what}: it is not valid JSON`, { cause });
  }
}

/** Foreign text for a message: quoted, escaped and short. */
function shorten(value: unknown): string {
  const quoted = JSON.stringify(value) ?? "";
  return quoted.length <= 40 ? quoted : `${quoted.slice(0, 40)}…"`;
}
