// The modes of replication and what leads from one to another: one pure table (R7, R9).
//
//   | mode         | a write goes to                                | what is published                  |
//   |--------------|------------------------------------------------|------------------------------------|
//   | logging      | the pool                                       | every checkpoint                   |
//   | forward-part | the pool, unless its chunk is stale or the     | up to where the history ended,     |
//   | forward-full | pool is full: then its chunk becomes stale     | then nothing until none is stale   |
//   | paused       | its chunk's mark                               | up to where the history ended      |
//   | detached     | its chunk's mark                               | nothing                            |
//
// forward-part copies what is stale, forward-full began with the whole device being stale: the
// difference is what the operator is told, and what counts as copied after a crash (startup.ts).

export type Mode = "logging" | "forward-part" | "forward-full" | "paused" | "detached";

export type ModeEvent =
  /** A write found the pool full. */
  | "overflow"
  /** No chunk is stale, and a checkpoint that says so is published. */
  | "resynced"
  | "pause"
  | "resume"
  /** The operator wants the whole device copied. */
  | "resync-all"
  /** Time does not heal what keeps the replica away. */
  | "detach";

type Row = Readonly<Partial<Record<ModeEvent, Mode>>>;

const TABLE: Readonly<Record<Mode, Row>> = {
  "logging": {
    "overflow": "forward-part",
    "pause": "paused",
    "resync-all": "forward-full",
    "detach": "detached",
  },
  "forward-part": {
    "resynced": "logging",
    "pause": "paused",
    "resync-all": "forward-full",
    "detach": "detached",
  },
  "forward-full": { "resynced": "logging", "pause": "paused", "detach": "detached" },
  "paused": { "resume": "forward-part", "resync-all": "forward-full", "detach": "detached" },
  // Left only by a new start.
  "detached": {},
};

/** The mode that `event` leads to; the same one where it changes nothing. */
export function nextMode(mode: Mode, event: ModeEvent): Mode {
  return TABLE[mode][event] ?? mode;
}

/** Whether stale chunks are being copied. */
export function isResyncing(mode: Mode): boolean {
  return mode === "forward-part" || mode === "forward-full";
}

/** Whether everything gets to the replica in this mode, sooner or later. */
export function isLive(mode: Mode): boolean {
  return mode !== "paused" && mode !== "detached";
}
