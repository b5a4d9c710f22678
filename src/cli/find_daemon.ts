// Which daemon a command means: by device number, by socket, or the only one that runs.

import { ReplicaError, usageError } from "../base/errors.ts";
import { unlessMissing } from "../base/files.ts";
import { findState, findStates, type FoundState, processStart } from "../control/run_directory.ts";
import type { Context } from "./context.ts";
import { integerOption, textOption } from "./options.ts";

/** Where `add` listens unless told otherwise. */
export const DEFAULT_SOCKET = "./.ioreplica";

const DAEMON_EXIT_MS = 10_000;

/** Options of the commands that talk to a daemon. */
export const daemonChoice = {
  number: integerOption("-n, --number <N>", {
    summary: "The device with this number, N of /dev/ublkbN",
  }),
  unixSocket: textOption("--unix-socket <PATH>", {
    summary: "The daemon that listens here",
    defaultText: DEFAULT_SOCKET,
  }),
};

export interface DaemonChoice {
  readonly number: number | undefined;
  readonly unixSocket: string | undefined;
}

/**
 * Path of the socket of the daemon that is meant. Without any option it is the default socket; where
 * there is none and `orOnly` is given, the only daemon that runs.
 */
export async function daemonSocket(
  ctx: Context,
  choice: DaemonChoice,
  options: { orOnly: boolean },
): Promise<string> {
  if (choice.number !== undefined && choice.unixSocket !== undefined) {
    throw usageError("Cannot use --number with --unix-socket: both name a daemon", {
      hint: "Give one of the two.",
    });
  }
  if (choice.unixSocket !== undefined) return choice.unixSocket;
  if (choice.number !== undefined) {
    const found = await findState(ctx.runDirectory, choice.number);
    return socketOf(found, choice.number);
  }
  if (options.orOnly && !await exists(DEFAULT_SOCKET)) {
    const alive = (await findStates(ctx.runDirectory)).filter((found) => found.alive);
    if (alive.length === 1) return socketOf(alive[0], alive[0].number);
  }
  return DEFAULT_SOCKET;
}

function socketOf(found: FoundState | null, number: number): string {
  if (found?.state && found.alive) return found.state.socket;
  if (found === null) {
    throw usageError(`Cannot find device ${number}: no daemon serves it`, {
      hint: 'Run "hyper-io-replica list" to see the devices.',
    });
  }
  throw new ReplicaError("unavailable", `Cannot reach the daemon of device ${number}: it is dead`, {
    hint: `Run "hyper-io-replica del -n ${number}" to remove what it left.`,
  });
}

/** Resolves when process `pid` has ended; `unavailable` when that takes too long. */
export async function waitForExit(ctx: Context, pid: number): Promise<void> {
  const start = await processStart(pid);
  const deadlineMs = ctx.clock.nowMs() + DAEMON_EXIT_MS;
  while (start !== null && await processStart(pid) === start) {
    if (ctx.clock.nowMs() > deadlineMs) {
      throw new ReplicaError("unavailable", `Cannot wait any longer: process ${pid} does not end`, {
        hint: "The device is stopped; the daemon's log says what it still does.",
      });
    }
    await ctx.clock.sleep(20, ctx.signal);
    if (ctx.signal.aborted) throw new ReplicaError("closed", "Cannot wait any longer: interrupted");
  }
}

async function exists(path: string): Promise<boolean> {
  return await unlessMissing(Deno.lstat(path)) !== null;
}
