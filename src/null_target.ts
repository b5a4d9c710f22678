// The null target in the main room: a size and nothing behind it.

import type { Target } from "./target.ts";

export function nullTarget(sizeBytes: number): Target {
  return {
    sizeBytes,
    logicalBlockBytes: 512,
    physicalBlockBytes: 4096,
    rotational: false,
    volatileCache: false,
    zeroing: true,
    queueTarget: () => ({ type: "null" }),
    close: () => Promise.resolve(),
  };
}
