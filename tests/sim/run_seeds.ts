// Many worlds on several cores: hands shares of the seeds to workers and adds up what they found.

import type { WorldFigures } from "./figures.ts";

/** Seeds `first` to `first + count - 1`. */
export interface Share {
  readonly first: number;
  readonly count: number;
}

type Counts = Omit<WorldFigures, "digest" | "diedAt"> & { readonly worlds: number };

export interface ShareResult extends Counts {
  /** How often the daemon died at each failpoint. */
  readonly diedAt: Readonly<Record<string, number>>;
  readonly failures: readonly { readonly seed: number; readonly failure: string }[];
}

const COUNTS: Counts = {
  worlds: 0,
  events: 0,
  checkpoints: 0,
  crashes: 0,
  staged: 0,
  lacking: 0,
  rivals: 0,
  compared: 0,
  found: 0,
};

export const NOTHING: ShareResult = { ...COUNTS, diedAt: {}, failures: [] };

/** Worlds that a worker runs before it reports. */
const SHARE_WORLDS = 10;

export interface SeedRun extends Share {
  readonly workers?: number;
  /** After every share: the sum so far. */
  readonly onProgress?: (sum: ShareResult) => void;
}

export async function runSeeds(run: SeedRun): Promise<ShareResult> {
  const workers = Math.min(run.workers ?? navigator.hardwareConcurrency, run.count);
  const end = run.first + run.count;
  let next = run.first;
  let sum = NOTHING;
  await Promise.all(Array.from({ length: workers }, async () => {
    const worker = new Worker(import.meta.resolve("./sim_worker.ts"), { type: "module" });
    try {
      while (next < end) {
        const count = Math.min(SHARE_WORLDS, end - next);
        const share = { first: next, count };
        next += count;
        const result = await answerOf(worker, share);
        sum = added(sum, result);
        run.onProgress?.(sum);
      }
    } finally {
      worker.terminate();
    }
  }));
  return sum;
}

function answerOf(worker: Worker, share: Share): Promise<ShareResult> {
  return new Promise((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<ShareResult>) => resolve(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      const seeds = `${share.first} to ${share.first + share.count - 1}`;
      reject(new Error(`The worker with the seeds ${seeds} broke: ${event.message}`));
    };
    worker.postMessage(share);
  });
}

export function added(a: ShareResult, b: ShareResult): ShareResult {
  const names = Object.keys(COUNTS) as (keyof Counts)[];
  const counts = Object.fromEntries(names.map((name) => [name, a[name] + b[name]]));
  return {
    ...COUNTS,
    ...counts,
    diedAt: addedCounts(a.diedAt, b.diedAt),
    failures: [...a.failures, ...b.failures],
  };
}

function addedCounts(
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Record<string, number> {
  const sum = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}
