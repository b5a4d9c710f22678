// `list`: the devices of this machine, from the run directory and from the driver, with what dead
// daemons left behind.

import { messageOf } from "../base/errors.ts";
import { formatSize } from "../base/units.ts";
import { findStates, type FoundState } from "../control/run_directory.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import type { DriverDevice } from "../ublk/driver.ts";
import { formatTable } from "./table.ts";

export interface ListedDevice {
  readonly number: number;
  readonly device: string;
  /** "running"; "dead": the daemon is gone; "foreign": another program's device. */
  readonly state: "running" | "dead" | "foreign";
  /** "null", "loop", "io-replica", or "?" where that is unknown. */
  readonly target: string;
  readonly primary: string | null;
  readonly replica: string | null;
  readonly uuid: string | null;
  readonly sizeBytes: number | null;
  readonly pid: number | null;
  readonly socket: string | null;
  /** Null: the driver can't be asked, or does not have the device. */
  readonly kernelState: string | null;
}

export const listCommand = defineCommand({
  name: "list",
  summary: "Show the devices of this machine",
  description:
    'Shows running devices, what dead daemons left (state "dead": "del" clears it), and the ' +
    'ublk devices of other programs (state "foreign").',
  options: {},
  examples: [["list --json", "For programs"]],
  async run(ctx, { json }) {
    const devices = await listDevices(ctx);
    if (json) ctx.stdout.write(JSON.stringify(devices, null, 2) + "\n");
    else if (devices.length === 0) ctx.stdout.write("no devices\n");
    else ctx.stdout.write(tableOf(devices));
  },
});

async function listDevices(ctx: Context): Promise<ListedDevice[]> {
  const found = await findStates(ctx.runDirectory);
  const kernel = await kernelDevices(ctx);
  const numbers = new Set([...found, ...kernel].map((device) => device.number));
  return [...numbers].sort((a, b) => a - b).map((number) =>
    merge(
      number,
      found.find((one) => one.number === number),
      kernel.find((one) => one.number === number),
    )
  );
}

/** Without the driver there are no devices of it; state files may still be there. */
async function kernelDevices(ctx: Context): Promise<readonly DriverDevice[]> {
  try {
    const driver = await ctx.platform.openDriver();
    return await driver.list();
  } catch (error) {
    ctx.stderr.write(`note: only state files are listed: ${messageOf(error)}\n`);
    return [];
  }
}

function merge(
  number: number,
  found: FoundState | undefined,
  kernel: DriverDevice | undefined,
): ListedDevice {
  const state = found?.state ?? null;
  const target = state?.config.target;
  return {
    number,
    device: `/dev/ublkb${number}`,
    state: found === undefined ? "foreign" : found.alive ? "running" : "dead",
    target: target?.type ?? "?",
    primary: target === undefined || target.type === "null" ? null : target.path,
    replica: target?.type === "io-replica" ? target.replica.uri : null,
    uuid: target?.type === "io-replica" ? target.uuid : null,
    sizeBytes: state?.deviceSizeBytes ?? null,
    pid: state?.pid ?? kernel?.pid ?? null,
    socket: state?.socket ?? null,
    kernelState: kernel?.state ?? null,
  };
}

function tableOf(devices: readonly ListedDevice[]): string {
  return formatTable(
    ["DEVICE", "STATE", "TARGET", "SIZE", "PID", "PRIMARY", "REPLICA"],
    devices.map((device) => [
      device.device,
      device.state,
      device.target,
      device.sizeBytes === null ? "-" : formatSize(device.sizeBytes),
      device.pid === null ? "-" : String(device.pid),
      device.primary ?? "-",
      device.replica ?? "-",
    ]),
  );
}
