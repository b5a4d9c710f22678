// A Context for tests of commands: streams into strings, signals by hand, a run directory and a
// working place of its own, and a Platform that counts what it was asked for. Nothing else changes.

import { run } from "../../src/cli/mod.ts";
import type { Context, Output, SignalName } from "../../src/cli/context.ts";
import type { Platform } from "../../src/cli/platform.ts";
import { usageError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/clock.ts";

class TextOutput implements Output {
  text = "";
  readonly isTerminal = false;
  readonly columns = 80;
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A temporary place in which commands run; remove it with `using`. */
export class CliWorld {
  readonly directory = Deno.makeTempDirSync({ prefix: "io-replica-cli-" });
  readonly runDirectory = `${this.directory}/run`;
  /** Names of the platform's functions that were called. */
  readonly platformCalls: string[] = [];
  readonly #environment: Readonly<Record<string, string>>;
  readonly #platform: Partial<Platform>;
  readonly #abort = new AbortController();
  readonly #repeats = new Set<(name: SignalName) => void>();
  #stdout = new TextOutput();
  #stderr = new TextOutput();

  constructor(options: { platform?: Partial<Platform>; env?: Record<string, string> } = {}) {
    this.#platform = options.platform ?? {};
    this.#environment = options.env ?? {};
  }

  /** What the command that runs has printed so far. */
  get stdout(): string {
    return this.#stdout.text;
  }

  get stderr(): string {
    return this.#stderr.text;
  }

  /** Runs a command line in this process. */
  async run(...argv: string[]): Promise<CliResult> {
    this.#stdout = new TextOutput();
    this.#stderr = new TextOutput();
    const code = await run(this.context(argv));
    return { code, stdout: this.stdout, stderr: this.stderr };
  }

  /** As a signal would arrive at the process. */
  interrupt(name: SignalName = "SIGINT"): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(name);
    else for (const listener of this.#repeats) listener(name);
  }

  context(argv: readonly string[]): Context {
    return {
      stdout: this.#stdout,
      stderr: this.#stderr,
      env: (name) => this.#environment[name],
      signal: this.#abort.signal,
      onRepeatedSignal: (listener) => {
        this.#repeats.add(listener);
        return () => void this.#repeats.delete(listener);
      },
      clock: systemClock,
      runDirectory: this.runDirectory,
      argv,
      self: ["/nonexistent/hyper-io-replica"],
      platform: this.#countedPlatform(),
    };
  }

  /** Every path below the place with its size and modification time, to show that nothing changed. */
  snapshot(): string[] {
    const lines: string[] = [];
    function visit(directory: string): void {
      for (const entry of Deno.readDirSync(directory)) {
        const path = `${directory}/${entry.name}`;
        const info = Deno.lstatSync(path);
        lines.push(`${path} ${info.size} ${info.mode} ${info.mtime?.getTime()}`);
        if (entry.isDirectory) visit(path);
      }
    }
    visit(this.directory);
    return lines.sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }

  #countedPlatform(): Platform {
    const platform: Platform = {
      checkMachine: () => Promise.resolve(),
      keepOwnFiles() {},
      startDevice: () => Promise.reject(usageError("Cannot start a device: none in this test")),
      openDriver: () => Promise.reject(usageError("Cannot open the driver: none in this test")),
      ...this.#platform,
    };
    const calls = this.platformCalls;
    return new Proxy(platform, {
      get(target, name: keyof Platform) {
        calls.push(name);
        return target[name];
      },
    });
  }
}
