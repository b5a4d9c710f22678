// The machine's real Platform. What runs a device is imported when first used, so that "--help" and
// the commands that only talk to a socket start fast; importing opens no library in any case.

import { closeOnExec } from "../../ffi/libc.ts";
import { usageError } from "../base/errors.ts";
import { formatSize } from "../base/units.ts";
import type { DeviceConfig } from "../config.ts";
import type { Platform } from "./platform.ts";

export const systemPlatform: Platform = {
  async checkMachine(config) {
    checkPoolSize(config);
    const { checkDriver } = await import("../ublk/driver.ts");
    await checkDriver();
  },
  keepOwnFiles: closeOnExec,
  async startDevice(config, start) {
    const { startDevice } = await import("../device/start_device.ts");
    return await startDevice(config, start);
  },
  async openDriver() {
    const { driverDevices, driverFeatures, removeDevice } = await import("../ublk/driver.ts");
    return { features: driverFeatures, list: driverDevices, remove: removeDevice };
  },
};

/** The pool is touched only as it fills: without this check the shortage would come much later. */
function checkPoolSize({ target }: DeviceConfig): void {
  const totalBytes = Deno.systemMemoryInfo().total;
  if (target.type === "io-replica" && target.poolBytes > totalBytes - totalBytes / 8) {
    throw usageError(
      `Cannot use --pool-size ${formatSize(target.poolBytes)}: this machine has ${
        formatSize(totalBytes)
      } of memory`,
      { hint: "The pool lies in memory; leave an eighth of it for everything else." },
    );
  }
}
