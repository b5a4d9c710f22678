// The machine's real Platform. Modules that open C libraries are imported when first used, so that
// "--help" and the commands that only talk to a socket work where liburing is missing.

import { laterError } from "./options.ts";
import type { Platform } from "./platform.ts";

export const systemPlatform: Platform = {
  checkMachine() {
    return Promise.resolve();
  },
  keepOwnFiles() {},
  startDevice() {
    return Promise.reject(laterError("Cannot start a device"));
  },
  openDriver() {
    return Promise.reject(laterError("Cannot open the ublk driver"));
  },
};
