// Crash points with names (R20): every step between a guest's write and a committed checkpoint, of
// attach, resync and stop, and of metadata updates, at which a test may kill, delay or fail the
// program. A point that nobody armed does nothing: one load and one comparison.
//
// A daemon is armed by its environment, every thread for itself:
//   IO_REPLICA_FAILPOINTS="commit.after-segment=kill,metadata.before-flush-log=delay:200ms"
// and a simulator by armFailpoints(). Where a point is hit: `git grep '"NAME"' src`.
//
//   | action       | effect                                                                       |
//   |--------------|------------------------------------------------------------------------------|
//   | kill         | SIGKILL to the process, as a crash or an impatient operator would            |
//   | delay:TIME   | waits (200ms, 3s)                                                            |
//   | error[:KIND] | throws a ReplicaError, `unavailable` unless a kind is given                   |
//   | hang         | goes no further                                                              |
//   ACTION@N       the Nth hit only

import { type ErrorKind, EXIT_CODES, ReplicaError, usageError } from "./errors.ts";

export const FAILPOINTS_VARIABLE = "IO_REPLICA_FAILPOINTS";

/** Every crash point; a test looks for each of them in the sources. */
export const FAILPOINTS = [
  // A guest's write, in its queue.
  "queue.before-primary",
  "queue.after-primary",
  "queue.after-capture",
  // A commit: segment, inode, flush log, release (R12).
  "commit.before-segment",
  "commit.after-segment",
  "commit.after-inode",
  "commit.before-release",
  "commit.after-release",
  // Resync.
  "resync.before-read",
  "resync.after-read",
  "resync.before-whole",
  // Metadata of the primary.
  "metadata.before-flush-log",
  "metadata.before-flush-log-flush",
  "metadata.after-flush-log",
  "metadata.before-superblock",
  "metadata.between-superblocks",
  "metadata.after-superblocks",
  // The dirty map: a queue's page write, and marks that are taken off.
  "intent.before-write",
  "intent.after-write",
  "intent.before-flush",
  "intent.before-clear-write",
  "intent.after-clear-write",
  // The staged map, while a resync runs.
  "staged.before-outdated",
  "staged.before-write",
  "staged.after-write",
  // Attach and start.
  "attach.before-open",
  "attach.before-card",
  "attach.after-card",
  "attach.after-touch",
  "attach.before-resume",
  "attach.before-give-up",
  "attach.between-give-up",
  "attach.after-give-up",
  "attach.after-stale-segments",
  "attach.before-adoption",
  "attach.after-adoption",
  "attach.before-held",
  "attach.before-marks",
  "start.before-active",
  "start.after-active",
  // Stop.
  "stop.before-drain",
  "stop.after-drain",
  "stop.before-clear",
  "stop.before-release",
  "stop.after-release",
  "stop.before-clean",
  "stop.after-clean",
] as const;

export type Failpoint = (typeof FAILPOINTS)[number];

/** What happens at a point; may throw, and may never return. */
export type FailpointHandler = (name: Failpoint) => Promise<void> | void;

let handler: FailpointHandler | null = fromEnvironment();

/** Installs what happens at every point of this thread; null: nothing. */
export function armFailpoints(next: FailpointHandler | null): void {
  handler = next;
}

/** For code that may wait: `await hit("commit.after-segment")`. */
export function hit(name: Failpoint): Promise<void> | void {
  if (handler !== null) return handler(name);
}

/** For code that must not wait: delays block the thread. */
export function hitNow(name: Failpoint): void {
  if (handler !== null) void handler(name);
}

interface Action {
  readonly verb: string;
  readonly argument: string;
  /** The hit that it is for; 0: each. */
  readonly only: number;
  hits: number;
}

function fromEnvironment(): FailpointHandler | null {
  const spec = Deno.env.get(FAILPOINTS_VARIABLE);
  return spec === undefined || spec === "" ? null : parseFailpoints(spec);
}

/** The handler that a specification describes; a usage error for one that is none. */
export function parseFailpoints(spec: string): FailpointHandler {
  const actions = new Map<string, Action>();
  for (const part of spec.split(",")) {
    const match = /^([\w.-]+)=(kill|delay|error|hang)(?::(\w+))?(?:@(\d+))?$/.exec(part.trim());
    const [, name = "", verb = "", argument = "", only = "0"] = match ?? [];
    const known = FAILPOINTS.some((point) => point === name);
    const sound = verb === "delay"
      ? /^\d+m?s$/.test(argument)
      : argument === "" || (verb === "error" && Object.hasOwn(EXIT_CODES, argument));
    if (match === null || !known || !sound) {
      throw usageError(`Cannot use ${FAILPOINTS_VARIABLE}: "${part}" is no failpoint and action`, {
        hint: "Write NAME=kill, NAME=delay:200ms, NAME=error or NAME=hang; " +
          "src/base/failpoints.ts has the names.",
      });
    }
    actions.set(name, { verb, argument, only: Number(only), hits: 0 });
  }
  return (name) => {
    const action = actions.get(name);
    if (action === undefined) return;
    action.hits++;
    if (action.only === 0 || action.only === action.hits) act(name, action);
  };
}

/** Blocks the thread where it waits, so that it means the same in a queue and in the replicator. */
function act(name: Failpoint, { verb, argument }: Action): void {
  switch (verb) {
    case "kill":
      Deno.kill(Deno.pid, "SIGKILL");
      return;
    case "error":
      throw new ReplicaError(
        (argument || "unavailable") as ErrorKind,
        `Cannot pass the failpoint ${name}: it is armed`,
      );
    case "delay":
      pause(parseInt(argument) * (argument.endsWith("ms") ? 1 : 1000));
      return;
    default:
      pause(Infinity);
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
