// The machine's real Platform. What runs a device is imported when first used, so that "--help" and
// the commands that only talk to a socket start fast; importing opens no library in any case.

import { closeOnExec } from "../../ffi/libc.ts";
import type { Platform } from "./platform.ts";

export const systemPlatform: Platform = {
  async checkMachine() {
    const { checkDriver } = await import("../ublk/driver.ts");
    await checkDriver();
  },
  keepOwnFiles: closeOnExec,
  async startDevice(config, signal) {
    const { startDevice } = await import("../start_device.ts");
    return await startDevice(config, signal);
  },
  async openDriver() {
    const { driverDevices, driverFeatures, removeDevice } = await import("../ublk/driver.ts");
    return { features: driverFeatures, list: driverDevices, remove: removeDevice };
  },
};
