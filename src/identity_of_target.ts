// Whether a primary is the device that the command line names. Nothing is changed before that is known.

import { usageError } from "./base/errors.ts";
import { formatSize } from "./base/units.ts";
import type { DeviceConfig, ReplicaTarget as ReplicaTargetConfig } from "./config.ts";
import type { Superblock } from "./format/superblock.ts";

/** Refuses a primary that is not the device that the command line names. */
export function checkIdentity(
  config: DeviceConfig,
  target: ReplicaTargetConfig,
  superblock: Superblock,
): void {
  if (superblock.uuid !== target.uuid) {
    throw usageError(
      `Cannot use ${target.path}: it was formatted as ${superblock.uuid}, not ${target.uuid}`,
      { hint: "Give the UUID and the replica URI that format printed for this primary." },
    );
  }
  const given: [string, number | null, number][] = [
    ["--region-size", target.regionBytes, superblock.regionBytes],
    ["--device-size", config.deviceSizeBytes, superblock.deviceSizeBytes],
  ];
  for (const [name, value, formatted] of given) {
    if (value === null || value === formatted) continue;
    throw usageError(
      `Cannot use ${name} ${formatSize(value)}: the primary was formatted with ` +
        formatSize(formatted),
      { hint: `Leave ${name} out: format has stored it.` },
    );
  }
}
