// What the operator's wish for a mode asks of the replicator: one pure table. Callers: replica_device.ts.

import type { Mode } from "./mode.ts";

/** The modes that an operator can wish for. */
export const WANTED_MODES = ["pause", "logging", "forward-part", "forward-full"] as const;
export type WantedMode = typeof WANTED_MODES[number];

/** What the replicator can be told. */
export type ModeOrder = "pause" | "resume" | "resync-all";

export interface ModeStep {
  /** Null: the mode is what was wished for, or leads there by itself. */
  readonly order: ModeOrder | null;
  /** What that means, for the operator. */
  readonly note: string;
}

const PAUSING = "writes only mark what they change, until the mode is set to logging";
const COPYING_PART = "what changed meanwhile is copied; then the mode becomes logging";
const COPYING_ALL = "the whole device is copied; then the mode becomes logging";
const ALREADY = "nothing to do: that is the mode already";

type Row = Readonly<Record<WantedMode, ModeStep>>;

const TABLE: Readonly<Record<Exclude<Mode, "detached">, Row>> = {
  "logging": {
    "pause": { order: "pause", note: PAUSING },
    "logging": { order: null, note: ALREADY },
    "forward-part": { order: null, note: "nothing to do: the replica lacks nothing" },
    "forward-full": { order: "resync-all", note: COPYING_ALL },
  },
  "forward-part": {
    "pause": { order: "pause", note: PAUSING },
    "logging": { order: null, note: "nothing to do: logging follows when the resync is complete" },
    "forward-part": { order: null, note: ALREADY },
    "forward-full": { order: "resync-all", note: COPYING_ALL },
  },
  "forward-full": {
    "pause": { order: "pause", note: PAUSING },
    "logging": { order: null, note: "nothing to do: logging follows when the resync is complete" },
    "forward-part": { order: null, note: "nothing to do: the whole device is being copied" },
    "forward-full": { order: null, note: ALREADY },
  },
  "paused": {
    "pause": { order: null, note: ALREADY },
    "logging": { order: "resume", note: COPYING_PART },
    "forward-part": { order: "resume", note: COPYING_PART },
    "forward-full": { order: "resync-all", note: COPYING_ALL },
  },
};

/** How to get from `mode` to the one that is wanted. */
export function stepTowards(mode: Exclude<Mode, "detached">, wanted: WantedMode): ModeStep {
  return TABLE[mode][wanted];
}
