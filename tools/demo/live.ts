// The live line while files are copied: how far the device is, and how far the replica is behind.

import { formatSize } from "../../src/base/units.ts";
import { formatDuration } from "../../src/cli/duration.ts";
import { status } from "../../src/control/client.ts";
import type { StatusReport } from "../../src/control/protocol.ts";
import type { Stage } from "./stage.ts";

const INTERVAL_MS = 500;
/** Where no line can be drawn over, one now and then says the same. */
const PLAIN_INTERVAL_MS = 5000;
/** Under emulation, on a busy machine, an answer takes its time. */
const ANSWER_LIMIT_MS = 60_000;

/** What was seen in the end. */
export interface Watched {
  readonly lagBytesMax: number;
  readonly lagSecondsMax: number;
  /** Checkpoints that were cut while it watched. */
  readonly checkpoints: number;
}

/** Does the work and shows what the device's daemon at `socket` says about itself meanwhile. */
export async function watched(
  stage: Stage,
  options: { socket: string; isTerminal: boolean },
  work: () => Promise<void>,
): Promise<Watched> {
  const first = await status(options.socket, { timeoutMs: ANSWER_LIMIT_MS });
  let last = first;
  let [lagBytesMax, lagSecondsMax] = [0, 0];
  let plainAtMs = performance.now() + PLAIN_INTERVAL_MS;
  const ended = new AbortController();
  async function watch(): Promise<void> {
    while (!ended.signal.aborted) {
      last = await status(options.socket, { timeoutMs: ANSWER_LIMIT_MS });
      lagBytesMax = Math.max(lagBytesMax, missingBytes(last));
      lagSecondsMax = Math.max(lagSecondsMax, last.lag?.seconds ?? 0);
      if (ended.signal.aborted) break;
      if (options.isTerminal) stage.draw(lineOf(first, last));
      else if (performance.now() >= plainAtMs) {
        stage.say(`   ${lineOf(first, last)}`);
        plainAtMs += PLAIN_INTERVAL_MS;
      }
      await pause(INTERVAL_MS, ended.signal);
    }
  }
  // Its own failure is the lesser news: what fails because of a dead daemon is the work.
  const watching = watch().then(() => undefined, (error: unknown) => error);
  try {
    await work();
  } finally {
    ended.abort();
    const failure = await watching;
    stage.wipe();
    if (failure !== undefined) stage.say(`   the device's daemon does not answer: ${failure}`);
  }
  const checkpoints = (last.checkpoint?.cno ?? 0) - (first.checkpoint?.cno ?? 0);
  return { lagBytesMax, lagSecondsMax, checkpoints };
}

/** What the replica lacks: what is in the pool, and what is to be copied besides. */
function missingBytes({ lag, resync }: StatusReport): number {
  return (lag?.bytes ?? 0) + (resync?.pendingBytes ?? 0);
}

/** "120MiB written, 14MiB/s | replica 2.1MiB, 400ms behind | checkpoint 17" */
function lineOf(first: StatusReport, now: StatusReport) {
  const { counters, throughput, lag, checkpoint } = now;
  const written = formatSize(counters.writtenBytes - first.counters.writtenBytes);
  const rate = formatSize(Math.round(throughput.writeBytesPerSecond));
  const bytes = missingBytes(now);
  const behind = lag === null || bytes === 0
    ? "replica up to date"
    : `replica ${formatSize(bytes)}, ${formatDuration(1000 * lag.seconds)} behind`;
  return `${written} written, ${rate}/s | ${behind} | checkpoint ${checkpoint?.cno ?? 0}`;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
