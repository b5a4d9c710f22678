// From a checked configuration to a running device, whatever its target.

import { startBareDevice } from "./bare_device.ts";
import type { DeviceConfig } from "../config.ts";
import type { DeviceStart, RunningDevice } from "../control/running_device.ts";
import { startReplicaDevice } from "./replica_device.ts";

/** Builds and starts a device; a failure, or the start's signal, leaves nothing behind. */
export function startDevice(config: DeviceConfig, start: DeviceStart): Promise<RunningDevice> {
  const { target } = config;
  switch (target.type) {
    case "null":
    case "loop":
      return startBareDevice(config, target, start.signal);
    case "io-replica":
      return startReplicaDevice(config, target, start);
  }
}
