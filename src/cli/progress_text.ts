// How the progress of a start or a stop reads, on a terminal and in the log.

import { formatSize } from "../base/units.ts";
import type { DeviceProgress } from "../control/running_device.ts";
import { formatDuration } from "./duration.ts";

/** "draining the pool, 8MiB to go, about 12.3s" */
export function progressText(progress: DeviceProgress): string {
  const { stage, pendingBytes, remainingMs, trouble } = progress;
  return [
    stage,
    ...(pendingBytes === undefined ? [] : [`${formatSize(pendingBytes)} to go`]),
    ...(remainingMs === undefined || remainingMs === null
      ? []
      : [`about ${formatDuration(remainingMs)}`]),
    ...(trouble === undefined ? [] : [`held up: ${trouble}`]),
  ].join(", ");
}
