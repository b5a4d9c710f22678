// What a daemon says about itself in its state file, written by one version of the program and read by
// perhaps another one. So what is read is checked here, member by member, as far as anybody uses it.
// Pure. Caller: run_directory.ts.

import { parseJsonObject } from "../base/json.ts";
import { fittedOrNull, natural, object, objectOf, oneOf, text } from "../base/json_form.ts";
import type { DeviceConfig } from "../config.ts";

/** What a daemon writes. */
export interface DaemonState extends StoredState {
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  /** Absolute path; null: the log went to stderr. */
  readonly logFile: string | null;
  readonly config: DeviceConfig;
}

/** What a state file is known to have; the rest is there for people. */
export interface StoredState {
  readonly version: 1;
  readonly number: number;
  /** "/dev/ublkb0" */
  readonly device: string;
  readonly pid: number;
  /** Start of the process in clock ticks since boot: tells it from a later one with its pid. */
  readonly pidStart: number;
  /** Absolute path. */
  readonly socket: string;
  readonly deviceSizeBytes: number;
  readonly config: { readonly target: StoredTarget };
}

/** What stands behind the device. `path`: the primary. */
export type StoredTarget =
  | { readonly type: "null" }
  | { readonly type: "loop"; readonly path: string }
  | {
    readonly type: "io-replica";
    readonly path: string;
    readonly uuid: string;
    readonly replica: { readonly uri: string };
  };

const targetForms = {
  "null": objectOf<TargetOf<"null">>({ type: oneOf(["null"]) }),
  "loop": objectOf<TargetOf<"loop">>({ type: oneOf(["loop"]), path: text }),
  "io-replica": objectOf<TargetOf<"io-replica">>({
    type: oneOf(["io-replica"]),
    path: text,
    uuid: text,
    replica: objectOf({ uri: text }),
  }),
};

type TargetOf<T extends StoredTarget["type"]> = Extract<StoredTarget, { type: T }>;

function targetForm(value: unknown, name: string): StoredTarget {
  const type = oneOf(["null", "loop", "io-replica"])(object(value, name).type, `${name}.type`);
  return targetForms[type](value, name);
}

const stateForm = objectOf<StoredState>({
  version: oneOf([1]),
  number: natural,
  device: text,
  pid: natural,
  pidStart: natural,
  socket: text,
  deviceSizeBytes: natural,
  config: objectOf({ target: targetForm }),
});

/** The state of device `number` that `json` is; null for one of another version, and for anything else. */
export function parseState(json: string, number: number): StoredState | null {
  const state = fittedOrNull(stateForm, parseJsonObject(json));
  return state !== null && state.number === number && state.pid > 0 ? state : null;
}
