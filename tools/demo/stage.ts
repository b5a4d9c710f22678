// How the demo speaks: numbered steps, the commands as one would type them, short results, times.

import { formatDuration } from "../../src/cli/duration.ts";
import { quote } from "../guest/job.ts";

/** A command ended badly, or a check did not hold. */
export class DemoError extends Error {}

const INDENT = "   ";
/** Lines of a command's output that are shown. */
const OUTPUT_LINES_MAX = 16;

export interface StageOptions {
  readonly isTerminal: boolean;
  /** Ends the command that runs; nothing is started after it. */
  readonly signal?: AbortSignal;
  /** Folder and variables of the commands. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Writes what happens and runs commands. */
export class Stage {
  #steps = 0;
  /** Long words of the commands and the variables that stand for them, as a person would do it. */
  readonly #variables: [name: string, value: string][] = [];
  readonly #options: StageOptions;

  constructor(options: StageOptions) {
    this.#options = options;
  }

  /** Announces a step, does it, and says how it went: `work` returns the result in a few words. */
  async step(title: string, work: () => Promise<string>): Promise<void> {
    const number = ++this.#steps;
    const startedMs = performance.now();
    this.say("");
    this.say(`${this.#bold(`${number}. ${title}`)}`);
    try {
      const result = await work();
      this.say(`${INDENT}=> ${result} (${formatDuration(performance.now() - startedMs)})`);
    } catch (error) {
      if (error instanceof DemoError) throw new DemoError(`step ${number}: ${error.message}`);
      throw error;
    }
  }

  /** Shows a command, runs it, shows its output as it comes, and returns its standard output. */
  async run(words: readonly string[], folder?: string): Promise<string> {
    this.#options.signal?.throwIfAborted();
    const { cwd, env, signal } = this.#options;
    const prefix = folder === undefined ? "" : `cd ${quote(folder)} && `;
    this.say(`${INDENT}$ ${this.#shorten(prefix + words.map(quote).join(" "))}`);
    const child = new Deno.Command(words[0], {
      args: words.slice(1),
      cwd: folder?.startsWith("/") ? folder : `${cwd}/${folder ?? ""}`,
      env: { ...env, LC_ALL: "C" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal,
    }).spawn();
    const shown = { lines: 0 };
    const [text, , { code }] = await Promise.all([
      this.#follow(child.stdout, shown),
      this.#follow(child.stderr, shown),
      child.status,
    ]);
    signal?.throwIfAborted();
    const more = shown.lines - OUTPUT_LINES_MAX;
    if (more > 0) this.say(`${INDENT}… and ${more} more lines`);
    if (code !== 0) throw new DemoError(`${words[0]} failed with exit code ${code}`);
    return text;
  }

  /** Shows the setting of a variable; from here on commands are shown with it. */
  define(name: string, value: string): void {
    this.say(`${INDENT}$ ${name}=${this.#shorten(quote(value))}`);
    this.#variables.unshift([name, value]);
  }

  /** A line for the reader. */
  say(line: string): void {
    write(`${line}\n`);
  }

  /** Draws a line that the next one replaces; only on a terminal. */
  draw(line: string): void {
    if (this.#options.isTerminal) write(`\r${INDENT}${line}\x1b[K`);
  }

  /** Removes the line that was drawn. */
  wipe(): void {
    if (this.#options.isTerminal) write("\r\x1b[K");
  }

  /** Shows a stream's lines as they come; resolves with its text. */
  async #follow(
    output: ReadableStream<Uint8Array<ArrayBuffer>>,
    shown: { lines: number },
  ): Promise<string> {
    let text = "";
    let rest = "";
    for await (const chunk of output.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#show(line, shown);
    }
    this.#show(rest, shown);
    return text;
  }

  #show(line: string, shown: { lines: number }): void {
    if (line.trim() === "" || ++shown.lines > OUTPUT_LINES_MAX) return;
    this.wipe();
    this.say(`${INDENT}${line}`);
  }

  #shorten(command: string): string {
    return this.#variables.reduce(
      (text, [name, value]) => text.replaceAll(value, `$${name}`),
      command,
    );
  }

  #bold(text: string): string {
    return this.#options.isTerminal ? `\x1b[1m${text}\x1b[0m` : text;
  }
}

function write(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}
