// Progress of a long copy on stderr: a bar on a terminal, a line every few seconds elsewhere.
// The only file that knows cli-progress.

// @ts-types="./cli_progress.d.ts"
import { SingleBar } from "cli-progress";
import type { Clock } from "../base/clock.ts";
import { formatSize } from "../base/units.ts";
import type { Output } from "./context.ts";
import { formatDuration } from "./duration.ts";

const LINE_INTERVAL_MS = 5_000;
const BAR_FORMAT = "{bar} {percentage}%  {data}  {rate}  {left}";

export interface TransferState {
  /** How far it is in what is copied. */
  readonly positionBytes: number;
  /** Bytes that were moved: holes cost nothing. */
  readonly dataBytes: number;
}

export class TransferProgress {
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #totalBytes: number;
  readonly #startMs: number;
  readonly #bar: SingleBar | null;
  #lineMs: number;

  constructor(output: Output, options: { clock: Clock; totalBytes: number }) {
    this.#output = output;
    this.#clock = options.clock;
    this.#totalBytes = options.totalBytes;
    this.#startMs = this.#clock.nowMs();
    this.#lineMs = this.#startMs;
    this.#bar = output.isTerminal ? startBar(output, options.totalBytes) : null;
  }

  update(state: TransferState): void {
    if (this.#bar !== null) {
      this.#bar.update(state.positionBytes, this.#texts(state));
      return;
    }
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#lineMs < LINE_INTERVAL_MS) return;
    this.#lineMs = nowMs;
    const percent = Math.floor(100 * state.positionBytes / Math.max(1, this.#totalBytes));
    const { data, rate, left } = this.#texts(state);
    this.#output.write(`${percent}%, ${data}, ${rate}, ${left}\n`);
  }

  /** Takes the bar away. Always call it: the bar has a timer, and hides the cursor. */
  stop(): void {
    this.#bar?.stop();
  }

  #texts({ positionBytes, dataBytes }: TransferState): Record<"data" | "rate" | "left", string> {
    const seconds = Math.max(0.001, (this.#clock.nowMs() - this.#startMs) / 1000);
    const ratio = positionBytes / Math.max(1, this.#totalBytes);
    return {
      data: `${formatSize(dataBytes)} of data`,
      rate: `${formatSize(Math.round(dataBytes / seconds))}/s`,
      left: ratio > 0 ? `${formatDuration(1000 * Math.ceil(seconds * (1 / ratio - 1)))} left` : "",
    };
  }
}

function startBar(output: Output, totalBytes: number): SingleBar {
  const bar = new SingleBar({
    stream: {
      isTTY: true,
      columns: output.columns,
      write: (text) => output.write(text),
    },
    format: BAR_FORMAT,
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    // Signals are the program's business.
    gracefulExit: false,
  });
  bar.start(Math.max(1, totalBytes), 0, { data: "", rate: "", left: "" });
  return bar;
}
