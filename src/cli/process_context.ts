// The Context of the real process: its streams, environment and signals.

import { systemClock } from "../base/clock.ts";
import type { Context, Output, SignalName } from "./context.ts";
import { systemPlatform } from "./system_platform.ts";

const RUN_DIRECTORY = "/run/hyper-io-replica";
const encoder = new TextEncoder();

/** Makes the Context; from now on signals abort its `signal` instead of ending the process. */
export function processContext(main: string): Context {
  const signals = new Signals();
  const isBundle = main.endsWith(".js");
  return {
    stdout: processOutput(Deno.stdout),
    stderr: processOutput(Deno.stderr),
    env: (name) => Deno.env.get(name),
    signal: signals.first,
    onRepeatedSignal: (listener) => signals.onRepeated(listener),
    clock: systemClock,
    runDirectory: Deno.env.get("HYPER_IO_REPLICA_RUN_DIR") ?? RUN_DIRECTORY,
    argv: Deno.args,
    self: [Deno.execPath(), "run", "--allow-all", "--no-prompt", "--quiet"].concat(
      isBundle ? "--no-config" : [],
      main,
    ),
    platform: systemPlatform,
  };
}

class Signals {
  readonly #controller = new AbortController();
  readonly #listeners = new Set<(name: SignalName) => void>();

  constructor() {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      Deno.addSignalListener(name, () => this.#arrived(name));
    }
  }

  get first(): AbortSignal {
    return this.#controller.signal;
  }

  onRepeated(listener: (name: SignalName) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #arrived(name: SignalName): void {
    if (!this.#controller.signal.aborted) this.#controller.abort(name);
    else for (const listener of this.#listeners) listener(name);
  }
}

function processOutput(stream: typeof Deno.stdout): Output {
  const isTerminal = stream.isTerminal();
  return {
    isTerminal,
    get columns() {
      return isTerminal ? Deno.consoleSize().columns : 80;
    },
    write(text) {
      const bytes = encoder.encode(text);
      try {
        for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
        return true;
      } catch (error) {
        if (error instanceof Deno.errors.BrokenPipe) return false; // as with "list | head -1"
        throw error;
      }
    },
  };
}
