// How long something takes, as people read it. The only file that knows pretty-ms.

import prettyMilliseconds from "pretty-ms";

/** Two units at most: "850ms", "12.3s", "4m 5s", "2h 13m", "3d 4h". */
export function formatDuration(ms: number): string {
  return prettyMilliseconds(Math.max(0, ms), { unitCount: 2 });
}
