// What is counted in a world.

import type { Failpoint } from "../../src/base/failpoints.ts";

/** What a world was like, for those who count. */
export interface WorldFigures {
  readonly digest: string;
  readonly events: number;
  readonly checkpoints: number;
  readonly crashes: number;
  /** Regions that crashes left staged. */
  readonly staged: number;
  /** Sectors that checkpoints lacked because the drive could not read them. */
  readonly lacking: number;
  /** Other primaries that came for the replica. */
  readonly rivals: number;
  /** Comparisons of primary and replica that ended, and blocks that they were shown and found. */
  readonly compared: number;
  readonly found: number;
  /** The failpoints at which the daemon died. */
  readonly diedAt: readonly Failpoint[];
}
