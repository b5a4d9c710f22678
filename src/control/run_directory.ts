// The run directory: one state file per running device, written by its daemon when the device is
// usable and removed when it is gone, so that `list`, `del` and `stop` find daemons by device number.
// A file whose process is gone is what a dead daemon left; `del` clears it.
//
// Files are written whole (temporary name, then rename); mode 0600, in a directory of mode 0755.

import { ReplicaError, systemReason, usageError } from "../base/errors.ts";
import { type DaemonState, parseState, type StoredState } from "./daemon_state.ts";
import { unlessMissing } from "../base/files.ts";

/** A state file that was found; `state` is null when it can't be read. */
export interface FoundState {
  readonly number: number;
  readonly path: string;
  readonly state: StoredState | null;
  /** The daemon's process lives. */
  readonly alive: boolean;
}

const STATE_FILE = /^ublk-(\d+)\.json$/;

export function stateFilePath(runDirectory: string, number: number): string {
  return `${runDirectory}/ublk-${number}.json`;
}

/** Makes the run directory; a usage error says what to do where that is not allowed. */
export async function makeRunDirectory(runDirectory: string): Promise<void> {
  try {
    await Deno.mkdir(runDirectory, { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw usageError(`Cannot make the run directory "${runDirectory}": ${systemReason(cause)}`, {
      cause,
      hint: "Run as root, or name a directory that may be written in HYPER_IO_REPLICA_RUN_DIR.",
    });
  }
}

/** Runs `action` while no other process does so in the same run directory. */
export async function withRunDirectoryLock<T>(
  runDirectory: string,
  action: () => Promise<T>,
): Promise<T> {
  await makeRunDirectory(runDirectory);
  const options = { write: true, create: true, mode: 0o600 };
  using lock = await Deno.open(`${runDirectory}/lock`, options);
  await lock.lock(true); // released when the file is closed, also by a crash
  return await action();
}

export async function writeState(runDirectory: string, state: DaemonState): Promise<void> {
  await makeRunDirectory(runDirectory);
  const path = stateFilePath(runDirectory, state.number);
  const temporary = `${path}.${state.pid}.new`;
  await Deno.writeTextFile(temporary, JSON.stringify(state, null, 2) + "\n", { mode: 0o600 });
  await Deno.rename(temporary, path);
}

/** Removes a state file; nothing happens when there is none. */
export async function removeState(runDirectory: string, number: number): Promise<void> {
  await unlessMissing(Deno.remove(stateFilePath(runDirectory, number)));
}

/** Every state file, by device number. */
export async function findStates(runDirectory: string): Promise<FoundState[]> {
  const found: FoundState[] = [];
  try {
    for await (const entry of Deno.readDir(runDirectory)) {
      const match = STATE_FILE.exec(entry.name);
      const state = match && await readState(runDirectory, Number(match[1]));
      if (state !== null) found.push(state);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw usageError(`Cannot read the run directory "${runDirectory}": ${systemReason(error)}`, {
      cause: error,
      hint: "Run the command as the user who ran add.",
    });
  }
  return found.sort((a, b) => a.number - b.number);
}

/** The state file of device `number`; null when there is none. */
export async function findState(runDirectory: string, number: number): Promise<FoundState | null> {
  const states = await findStates(runDirectory);
  return states.find((state) => state.number === number) ?? null;
}

/** Null: the file is gone, its daemon ended meanwhile. */
async function readState(runDirectory: string, number: number): Promise<FoundState | null> {
  const path = stateFilePath(runDirectory, number);
  const text = await unlessMissing(Deno.readTextFile(path));
  if (text === null) return null;
  const state = parseState(text, number);
  const alive = state !== null && await processStart(state.pid) === state.pidStart;
  return { number, path, state, alive };
}

/** Start time of a process in clock ticks since boot; null when there is no such process. */
export async function processStart(pid: number, read = Deno.readTextFile): Promise<number | null> {
  const path = `/proc/${pid}/stat`;
  try {
    return startOf(await textOfProcess(path, read));
  } catch (error) {
    throw new ReplicaError("kernel", `Cannot look at process ${pid}: ${systemReason(error)}`, {
      cause: error,
    });
  }
}

/**
 * A process that ends between open and read makes the read fail, with an error (ESRCH) that Deno has no
 * class for. The second time there is nothing to open, or another process.
 */
async function textOfProcess(path: string, read: typeof Deno.readTextFile): Promise<string | null> {
  try {
    return await unlessMissing(read(path));
  } catch {
    return await unlessMissing(read(path));
  }
}

/** Of a line of /proc/PID/stat. */
function startOf(stat: string | null): number | null {
  if (stat === null) return null;
  // The name in parentheses may hold anything; the fields after it are numbered from 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return null;
  return Number(fields[22 - 3]);
}
