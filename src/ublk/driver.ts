// The ublk driver as command-line tools see it: features, devices, and removing what a dead server
// left. Each call opens and closes the control device.

import { errnoOf } from "../../ffi/errno.ts";
import { type DevInfo, UblkControl } from "./control.ts";
import { FEATURES, stateName } from "./uapi.ts";
import { unlessMissingSync } from "../base/files.ts";

const CLASS_DIRECTORY = "/sys/class/ublk-char";
const STOP_DEADLINE_MS = 60_000;
const DELETE_DEADLINE_MS = 20_000;

/** A ublk device as the driver describes it. */
export interface DriverDevice {
  readonly number: number;
  readonly queues: number;
  readonly depth: number;
  readonly bufferBytes: number;
  /** Process that serves the device, as the driver remembers it; -1: none yet. */
  readonly pid: number;
  /** "dead", "live", "quiesced" or "failed". */
  readonly state: string;
}

/** What the driver can do, or can't. */
export interface FeatureState {
  readonly name: string;
  readonly bit: number;
  readonly present: boolean;
  /** What the feature is for, one line. */
  readonly summary: string;
}

/** Throws a kernel error with what to do about it when the driver is missing or not for us. */
export async function checkDriver(): Promise<void> {
  await withControl(() => Promise.resolve());
}

/** What the driver can do; throws when there is none or it is not for us. */
export async function driverFeatures(): Promise<FeatureState[]> {
  return await withControl((control) =>
    Promise.resolve(
      FEATURES.map(({ name, bit, summary }) => ({
        name,
        bit,
        summary,
        present: (control.features >> BigInt(bit) & 1n) === 1n,
      })),
    )
  );
}

/** All devices, whoever serves them, by number. */
export async function driverDevices(): Promise<DriverDevice[]> {
  return await withControl(async (control) => {
    const devices: DriverDevice[] = [];
    for (const number of deviceNumbers()) {
      const info = await control.getInfo(number);
      if (info) devices.push(describe(info));
    }
    return devices;
  });
}

/** Stops and deletes a device; nothing happens when there is none. */
export async function removeDevice(number: number): Promise<void> {
  await withControl(async (control) => {
    try {
      await control.stopDevice(number, STOP_DEADLINE_MS);
      await control.deleteDevice(number, DELETE_DEADLINE_MS);
    } catch (error) {
      if (errnoOf(error) !== "ENODEV" || await control.getInfo(number)) throw error;
    }
  });
}

function describe(info: DevInfo): DriverDevice {
  return {
    number: info.devId,
    queues: info.nrHwQueues,
    depth: info.queueDepth,
    bufferBytes: info.maxIoBufBytes,
    pid: info.ublksrvPid,
    state: stateName(info.state),
  };
}

function deviceNumbers(): number[] {
  const entries = unlessMissingSync(() => [...Deno.readDirSync(CLASS_DIRECTORY)]) ?? [];
  const names = entries.map(({ name }) => /^ublkc(\d+)$/.exec(name)?.[1]);
  return names.filter((name) => name !== undefined).map(Number).sort((a, b) => a - b);
}

async function withControl<T>(run: (control: UblkControl) => Promise<T>): Promise<T> {
  const control = await UblkControl.open();
  try {
    return await run(control);
  } finally {
    control.close();
  }
}
