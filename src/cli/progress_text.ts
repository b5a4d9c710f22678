// How the progress of a start or a stop reads, on a terminal and in the log.

import { formatSize } from "../base/units.ts";
import type { DeviceProgress } from "../control/running_device.ts";

/** "draining the pool, 8MiB to go, about 12.3 s" */
export function progressText(progress: DeviceProgress): string {
  const { stage, pendingBytes, remainingMs, trouble } = progress;
  return [
    stage,
    ...(pendingBytes === undefined ? [] : [`${formatSize(pendingBytes)} to go`]),
    ...(remainingMs === undefined || remainingMs === null
      ? []
      : [`about ${duration(remainingMs / 1000)}`]),
    ...(trouble === undefined ? [] : [`held up: ${trouble}`]),
  ].join(", ");
}

/** "850 ms", "12.3 s", "4 min 5 s", "2 h 13 min", "3 d 4 h" */
export function duration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}
