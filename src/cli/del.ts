// `del`: removes devices. A living daemon is asked to stop (the same clean stop as `stop`); what a dead
// one left - the device in the kernel, the state file, the socket - is cleared away.

import { type ErrorReport, reportOf } from "../base/error_report.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { unlessMissing } from "../base/files.ts";
import { isSocketAnswered } from "../control/client.ts";
import {
  findState,
  findStates,
  type FoundState,
  processStart,
  removeState,
} from "../control/run_directory.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { flagOption, integerOption } from "./options.ts";
import type { DriverDevice } from "../ublk/driver.ts";
import { reportFailure } from "./report.ts";
import { stopDaemon } from "./stop.ts";

export const delCommand = defineCommand({
  name: "del",
  summary: "Remove a device, also one whose daemon is dead",
  description:
    "Asks the device's daemon for a clean stop and waits for it. Where the daemon is dead, removes " +
    "the device from the kernel and clears what it left in the run directory. With --all, a device that " +
    "cannot be deleted does not keep the others; the exit code is that of the first failure.",
  options: {
    number: integerOption("-n, --number <N>", {
      summary: "Number of the device, N of /dev/ublkbN",
    }),
    all: flagOption("-a, --all", { summary: "All devices of this program" }),
  },
  examples: [["del -n 0", "The device /dev/ublkb0"], ["del --all", "All of them"]],
  async run(ctx, { number, all, json }) {
    if ((number !== undefined) === all) {
      throw usageError("Cannot delete devices: give either --number or --all");
    }
    if (number === undefined) return await deleteAll(ctx, json);
    await deleteDevice(ctx, number, await findState(ctx.runDirectory, number));
    if (json) ctx.stdout.write(jsonOf({ deleted: [number], failed: [] }));
    return 0;
  },
});

interface Deletions {
  readonly deleted: number[];
  readonly failed: { number: number; error: ErrorReport }[];
}

/** One device that cannot be deleted keeps none of the others; the exit code is the first failure's. */
async function deleteAll(ctx: Context, json: boolean): Promise<number> {
  const done: Deletions = { deleted: [], failed: [] };
  let exitCode = 0;
  for (const found of await findStates(ctx.runDirectory)) {
    try {
      await deleteDevice(ctx, found.number, found);
      done.deleted.push(found.number);
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      done.failed.push({ number: found.number, error: reportOf(error) });
      const code = reportFailure(ctx, error);
      exitCode ||= code;
    }
  }
  if (json) ctx.stdout.write(jsonOf(done));
  return exitCode;
}

function jsonOf(done: Deletions): string {
  return JSON.stringify(done) + "\n";
}

async function deleteDevice(
  ctx: Context,
  number: number,
  found: FoundState | null,
): Promise<void> {
  if (found?.state && found.alive) return await stopDaemon(ctx, found.state.socket);
  const driver = await ctx.platform.openDriver();
  const known = (await driver.list()).find((device) => device.number === number);
  if (known === undefined && found === null) {
    throw usageError(`Cannot delete device ${number}: there is no such device`, {
      hint: 'Run "hyper-io-replica list" to see the devices.',
    });
  }
  if (known !== undefined) {
    await refuseServed(known, found);
    await driver.remove(number);
  }
  if (found !== null) await clearLeftovers(ctx, found);
}

/** Throws when a process serves the device, unless its state file shows that this is another one. */
async function refuseServed(device: DriverDevice, found: FoundState | null): Promise<void> {
  if (found?.state?.pid === device.pid) return; // its start differs, or it would count as alive
  if (device.pid <= 0 || await processStart(device.pid) === null) return;
  throw new ReplicaError(
    "unavailable",
    `Cannot delete device ${device.number}: process ${device.pid} serves it`,
    { hint: "Nothing here tells how to stop that process cleanly: end it, then repeat." },
  );
}

async function clearLeftovers(ctx: Context, found: FoundState): Promise<void> {
  const socket = found.state?.socket;
  if (socket !== undefined && await isStaleSocket(socket)) await Deno.remove(socket);
  await removeState(ctx.runDirectory, found.number);
}

/** Something else may lie at the path by now: a new daemon's socket, or a file. */
async function isStaleSocket(path: string): Promise<boolean> {
  const info = await unlessMissing(Deno.lstat(path));
  return info?.isSocket === true && !await isSocketAnswered(path);
}
