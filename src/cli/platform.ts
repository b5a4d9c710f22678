// What the commands need of the machine: running a device, and the ublk driver. An interface, so
// that the commands are tested without a kernel that has ublk; systemPlatform() is the real one and
// loads the FFI modules only when they are used ("--help" opens no library).

import type { DeviceConfig } from "../config.ts";
import type { DeviceStart, RunningDevice } from "../control/running_device.ts";
import type { DriverDevice, FeatureState } from "../ublk/driver.ts";

/** The ublk driver's control operations. Every call fails with a typed error in bounded time. */
export interface Driver {
  features(): Promise<readonly FeatureState[]>;
  list(): Promise<readonly DriverDevice[]>;
  /** Stops and deletes a device whose server is gone; nothing happens when there is none. */
  remove(number: number): Promise<void>;
}

export interface Platform {
  /** Refuses, before anything is touched, what this machine can't do: no driver, no permission. */
  checkMachine(config: DeviceConfig): Promise<void>;
  /** Keeps programs that this process starts from inheriting its open files. */
  keepOwnFiles(): void;
  /**
   * Builds and starts a device; it is usable when the promise resolves. A failure leaves nothing
   * behind in the kernel. Aborting the start's signal rejects the promise with `closed`.
   */
  startDevice(config: DeviceConfig, start: DeviceStart): Promise<RunningDevice>;
  openDriver(): Promise<Driver>;
}
