// What a command may touch of the process it runs in. Commands get everything from their Context, so
// that tests run them without a process: the output goes to strings, signals come from the test.
// The real one is made by process_context.ts.

import type { Clock } from "../base/clock.ts";
import type { Platform } from "./platform.ts";

/** A text stream: stdout is for results, everything else goes to stderr. */
export interface Output {
  /** False when nobody reads any more (a closed pipe). */
  write(text: string): boolean;
  readonly isTerminal: boolean;
  /** Width for tables and help. */
  readonly columns: number;
}

/** Signals that end a command; SIGHUP comes when a terminal goes away. */
export type SignalName = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface Context {
  readonly stdout: Output;
  readonly stderr: Output;
  env(name: string): string | undefined;
  /** Aborted by the first of the signals; its reason is the SignalName. */
  readonly signal: AbortSignal;
  /** Calls `listener` for every signal after the first; returns what ends that. */
  onRepeatedSignal(listener: (name: SignalName) => void): () => void;
  readonly clock: Clock;
  /** Where daemons leave their state files, logs and (for bare targets) sockets. */
  readonly runDirectory: string;
  /** The command line without the program: what the user typed. */
  readonly argv: readonly string[];
  /** Program and arguments that start this program again. */
  readonly self: readonly string[];
  readonly platform: Platform;
}
