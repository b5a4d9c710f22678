// How a stop's progress reads, on a terminal and in the log.

import { formatSize } from "../base/units.ts";
import type { StopProgress } from "../control/running_device.ts";

/** "draining the pool, 8MiB to go" */
export function progressText(progress: StopProgress): string {
  const { stage, pendingBytes } = progress;
  return pendingBytes === undefined ? stage : `${stage}, ${formatSize(pendingBytes)} to go`;
}
