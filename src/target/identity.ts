// Whether a primary is the device that the command line names. Nothing is changed before that is known.

import { usageError } from "../base/errors.ts";
import { exactSize, formatSize } from "../base/units.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../config.ts";
import type { Superblock } from "../format/superblock.ts";
import { poolHoldsRequests, SHARED_BYTES_MAX, sharedLayout } from "../shared/layout.ts";

/** Refuses a primary that is not the device that the command line names, or does not fit its options. */
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
      `Cannot use ${name} ${exactSize(value)}: the primary was formatted with ` +
        exactSize(formatted),
      { hint: `Leave ${name} out: format has stored it.` },
    );
  }
}

/** With the size of a data block, which the primary tells, buffers and pool must still fit. */
export function checkSharedMemory(
  { queues, depth, bufferBytes: ioBufBytes }: DeviceConfig,
  { poolBytes }: ReplicaTargetConfig,
  { dataBlockBytes: unitBytes, regionBytes, deviceSizeBytes }: Superblock,
): void {
  const shape = { queues, depth, ioBufBytes, unitBytes, poolBytes, regionBytes, deviceSizeBytes };
  if (!poolHoldsRequests(shape)) {
    throw usageError(
      `Cannot use --pool-size ${formatSize(poolBytes)}: it must hold two requests of ` +
        `${formatSize(ioBufBytes)} with the data blocks of ${formatSize(unitBytes)} around them`,
      { hint: "Give a greater --pool-size or a smaller --io-buf-size." },
    );
  }
  const { totalBytes } = sharedLayout(shape);
  if (totalBytes <= SHARED_BYTES_MAX) return;
  throw usageError(
    `Cannot use --queue ${queues} with --depth ${depth}: buffers, pool and maps would take ` +
      `${formatSize(totalBytes)} of memory, more than ${formatSize(SHARED_BYTES_MAX)}`,
    { hint: "Give a smaller --queue, --depth, --io-buf-size or --pool-size." },
  );
}

/** Regions consist of whole logical blocks, of the primary's or of greater ones that were asked for. */
export function checkLogicalBlock(
  config: DeviceConfig,
  { regionBytes }: Superblock,
  primaryBlockBytes: number,
): void {
  const logicalBlockBytes = Math.max(config.logicalBlockBytes ?? 0, primaryBlockBytes);
  if (regionBytes % logicalBlockBytes === 0) return;
  throw usageError(
    `Cannot use logical blocks of ${logicalBlockBytes} bytes: the primary was formatted with ` +
      `regions of ${exactSize(regionBytes)}, no multiple of that`,
    {
      hint: regionBytes % primaryBlockBytes === 0
        ? "Give a smaller --logical-block-size, or leave it out."
        : "The primary's own blocks are that large: format it again with another --region-size.",
    },
  );
}
