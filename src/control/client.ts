// The commands' end of the control socket: one request, its progress, its answer. Never waits without
// a limit, except for the end of a stop, whose progress keeps arriving.

import { errorOfReport } from "../base/error_report.ts";
import { InvariantError } from "../base/assert.ts";
import { dataError, messageOf, ReplicaError, systemReason } from "../base/errors.ts";
import { type Form, MisfitError } from "../base/json_form.ts";
import { checkSocketPath } from "../config.ts";
import { modeForm, pingForm, statsForm, statusForm, stopForm, verifyForm } from "./answer_forms.ts";
import { LineConnection, TooSlowError } from "./line_connection.ts";
import {
  encodeLine,
  type ModeReport,
  parseResponse,
  type PingReport,
  type Request,
  type Response,
  RESPONSE_BYTES_MAX,
  type StatsReport,
  type StatusReport,
} from "./protocol.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { WantedMode } from "../replication/wanted_mode.ts";
import type { DeviceProgress } from "./running_device.ts";

/** Why nobody was reached: no such socket, nobody listens on it, no answer in time, or else. */
export type Unreachable = "absent" | "refused" | "slow" | "other";

/** Nobody answers on a socket. Kind `unavailable`. */
export class UnreachableError extends ReplicaError {
  readonly reason: Unreachable;

  constructor(path: string, why: string, details: { reason: Unreachable; cause?: unknown }) {
    super("unavailable", `Cannot reach the daemon at "${path}": ${why}`, {
      cause: details.cause,
      hint: details.reason === "other"
        ? "Its log says why."
        : 'Run "hyper-io-replica list" to see the devices, then repeat with -n N.',
    });
    this.reason = details.reason;
  }
}

export interface CallOptions {
  /** Longest wait for an answer, or for the next progress. */
  readonly timeoutMs?: number;
  /** Ends the wait; the daemon is not told. */
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 10_000;

export async function ping(path: string, options?: CallOptions): Promise<PingReport> {
  return await call(path, { command: "ping" }, pingForm, options);
}

export async function status(path: string, options?: CallOptions): Promise<StatusReport> {
  return await call(path, { command: "status" }, statusForm, options);
}

export async function stats(path: string, options?: CallOptions): Promise<StatsReport> {
  return await call(path, { command: "stats" }, statsForm, options);
}

export async function setMode(
  path: string,
  mode: WantedMode,
  options?: CallOptions,
): Promise<ModeReport> {
  return await call(path, { command: "set-mode", mode }, modeForm, options);
}

/** Has the daemon compare primary and replica; it ends the comparison when `signal` is aborted. */
export async function verify(
  path: string,
  { repair }: { repair: boolean },
  onProgress: (progress: DeviceProgress) => void,
  options?: CallOptions,
): Promise<VerifyReport> {
  return await call(path, { command: "verify", repair }, verifyForm, options, onProgress);
}

/** Asks the daemon to stop its device; resolves when it is stopped. */
export async function stop(
  path: string,
  onProgress: (progress: DeviceProgress) => void,
  options?: CallOptions,
): Promise<void> {
  await call(path, { command: "stop" }, stopForm, options, onProgress);
}

/** A data error when the daemon answers with anything but a T. */
async function call<T>(
  path: string,
  request: Request,
  form: Form<T>,
  { timeoutMs = TIMEOUT_MS, signal }: CallOptions = {},
  onProgress: (progress: DeviceProgress) => void = () => {},
): Promise<T> {
  const connection = await connect(path);
  const limits = { lineBytesMax: RESPONSE_BYTES_MAX, idleMs: timeoutMs, lineMs: timeoutMs };
  const lines = new LineConnection(connection, limits);
  const abandon = () => lines.close();
  signal?.addEventListener("abort", abandon);
  try {
    signal?.throwIfAborted();
    await lines.send(encodeLine(request));
    for (;;) {
      const response = await nextResponse(lines, path);
      if ("progress" in response) onProgress(response.progress);
      else if (response.ok) return fitted(form, response.result, path);
      else throw errorOfReport(response.error);
    }
  } catch (error) {
    throw signal?.aborted ? interrupted(error) : callError(path, error);
  } finally {
    signal?.removeEventListener("abort", abandon);
    lines.close();
  }
}

/** What the other side says is not the user's mistake, whatever is wrong with it. */
async function nextResponse(lines: LineConnection, path: string): Promise<Response> {
  try {
    const line = await lines.readLine();
    if (line !== null) return parseResponse(line);
  } catch (error) {
    if (!(error instanceof ReplicaError) || error.kind !== "usage") throw error;
    throw dataError(`Cannot read what the daemon at "${path}" answers: ${error.message}`, {
      hint: "Has it died meanwhile? Is it a hyper-io-replica daemon, of the same version?",
      cause: error,
    });
  }
  throw goneError(path);
}

/** `result` as a T; a data error when the daemon's version answers with something else. */
function fitted<T>(form: Form<T>, result: unknown, path: string): T {
  try {
    return form(result, "result");
  } catch (cause) {
    if (!(cause instanceof MisfitError)) throw cause;
    throw dataError(`Cannot use the answer of the daemon at "${path}": ${cause.message}`, {
      hint: "The daemon is of another version: use the program that it was started with.",
      cause,
    });
  }
}

async function connect(path: string): Promise<Deno.UnixConn> {
  checkSocketPath(path);
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new UnreachableError(path, "there is no such socket", { reason: "absent", cause });
    }
    if (cause instanceof Deno.errors.ConnectionRefused) {
      throw new UnreachableError(path, "nobody listens on the socket", {
        reason: "refused",
        cause,
      });
    }
    if (cause instanceof Deno.errors.PermissionDenied) {
      throw new ReplicaError("usage", `Cannot reach the daemon at "${path}": permission denied`, {
        cause,
        hint: "The socket belongs to the user who ran add; run the command as that user.",
      });
    }
    throw new UnreachableError(path, systemReason(cause), { reason: "other", cause });
  }
}

function interrupted(cause: unknown): ReplicaError {
  return new ReplicaError("closed", "Cannot wait any longer: interrupted", { cause });
}

/** Errors of the system (a reset connection) become typed; ours pass. */
function callError(path: string, error: unknown): unknown {
  if (error instanceof TooSlowError) {
    return new UnreachableError(path, "it does not answer in time", {
      reason: "slow",
      cause: error,
    });
  }
  if (error instanceof ReplicaError || error instanceof InvariantError) return error;
  return new UnreachableError(path, messageOf(error), { reason: "other", cause: error });
}

function goneError(path: string): ReplicaError {
  const why = "it closed the connection without an answer";
  return new UnreachableError(path, why, { reason: "other" });
}

/** True when somebody listens on the socket, whoever it is. */
export async function isSocketAnswered(path: string): Promise<boolean> {
  try {
    (await connect(path)).close();
    return true;
  } catch (error) {
    if (error instanceof UnreachableError && ["refused", "absent"].includes(error.reason)) {
      return false;
    }
    throw error;
  }
}
