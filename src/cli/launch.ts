// Starting a daemon in the background: this program runs itself again, detached (own session, no
// terminal, stdin closed, stderr = the log file), gives it the configuration in the environment, and
// waits on its stdout, the ready pipe, for the line that says that the device is usable, or the error
// that stopped it. background.ts is the child's side. The child keeps the working directory, because
// the socket path may be relative to it.
//
// Invariants:
// - the child holds no file of this process open, or a caller that reads our output would wait for
//   the daemon's end;
// - a signal before the device is usable stops the child, and we wait for that.

import { errorOfReport } from "../base/error_report.ts";
import { ReplicaError, systemReason, usageError } from "../base/errors.ts";
import type { DeviceConfig } from "../config.ts";
import type { DeviceProgress } from "../control/running_device.ts";
import { makeRunDirectory } from "../control/run_directory.ts";
import { BACKGROUND_OPTION, CONFIG_VARIABLE } from "./background_option.ts";
import type { Context } from "./context.ts";
import { parseReadyMessage, type ReadyReport } from "./ready_report.ts";

export interface LaunchOptions {
  readonly config: DeviceConfig;
  readonly logFile: string | undefined;
  onProgress(progress: DeviceProgress): void;
}

/** Starts a daemon; resolves when its device is usable. */
export async function launchDaemon(
  ctx: Context,
  options: LaunchOptions,
): Promise<ReadyReport> {
  await makeRunDirectory(ctx.runDirectory);
  const logFile = options.logFile ?? `${ctx.runDirectory}/${logName(options.config)}.log`;
  checkLog(logFile);
  ctx.platform.keepOwnFiles();
  const child = startChild(ctx, options.config, logFile);
  const ended = child.status.then(endText);
  const forward = () => terminate(child);
  ctx.signal.addEventListener("abort", forward);
  if (ctx.signal.aborted) forward();
  const endRepeats = ctx.onRepeatedSignal(() => {
    ctx.stderr.write(`Still waiting for the daemon (pid ${child.pid}) to stop\n`);
  });
  try {
    const { onProgress } = options;
    const report = await waitUntilReady(child.stdout, { ended, logFile, onProgress });
    if (ctx.signal.aborted) await ended; // the signal crossed the ready line: it stops again
    ctx.signal.throwIfAborted();
    return { ...report, logFile };
  } catch (error) {
    throw ctx.signal.aborted ? interrupted(error) : error;
  } finally {
    ctx.signal.removeEventListener("abort", forward);
    endRepeats();
    child.unref();
  }
}

/** The shell opens the log, which Deno can't pass on, and becomes the daemon. */
function startChild(ctx: Context, config: DeviceConfig, logFile: string): Deno.ChildProcess {
  const order: DeviceConfig = { ...config, log: { ...config.log, file: logFile } };
  const command = [...ctx.self, ...ctx.argv, BACKGROUND_OPTION];
  return new Deno.Command("/bin/sh", {
    args: ["-c", 'exec "$@" 2>>"$0"', logFile, ...command],
    env: { [CONFIG_VARIABLE]: JSON.stringify(order) },
    detached: true,
    stdin: "null",
    stdout: "piped",
  }).spawn();
}

function terminate(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGTERM");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it has ended already
  }
}

async function waitUntilReady(
  pipe: ReadableStream<Uint8Array>,
  { ended, logFile, onProgress }: {
    ended: Promise<string>;
    logFile: string;
    onProgress: LaunchOptions["onProgress"];
  },
): Promise<ReadyReport> {
  for await (const line of linesOf(pipe)) {
    const message = parseReadyMessage(line);
    if (message === null) break;
    if ("ready" in message) return message.ready;
    if ("progress" in message) onProgress(message.progress);
    else {
      await ended;
      throw errorOfReport(message.error);
    }
  }
  const how = await ended;
  throw new ReplicaError(
    "kernel",
    `Cannot start the device: its daemon ${how} before it was ready`,
    {
      hint: `Its log says more: ${logFile}`,
    },
  );
}

async function* linesOf(pipe: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of pipe) {
    const lines = (text + decoder.decode(chunk, { stream: true })).split("\n");
    text = lines.pop() ?? "";
    yield* lines;
  }
}

/** Makes the log, or says why the daemon could not write to it. */
function checkLog(path: string): void {
  try {
    Deno.openSync(path, { append: true, create: true, mode: 0o600 }).close();
  } catch (cause) {
    throw usageError(`Cannot open the log file "${path}": ${systemReason(cause)}`, {
      cause,
      hint: "Give a --log-file that this user may write, in a directory that exists.",
    });
  }
}

function logName({ target, number }: DeviceConfig): string {
  if (target.type === "io-replica") return target.uuid;
  return `${target.type}-${number >= 0 ? number : Deno.pid}`;
}

function endText({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
}

function interrupted(cause: unknown): ReplicaError {
  return new ReplicaError(
    "closed",
    "Cannot wait for the device: interrupted, it is stopped again",
    {
      cause,
    },
  );
}
