// Entry point of a worker that runs worlds: gets seeds, answers with a sum for each share of them.

import { Arena } from "./daemon.ts";
import type { Share, ShareResult } from "./run_seeds.ts";
import { runWorld } from "./run_world.ts";

const worker = self as unknown as {
  onmessage: ((event: MessageEvent<Share>) => void) | null;
  postMessage(message: ShareResult): void;
};

const arena = new Arena();

async function runShare({ first, count }: Share): Promise<ShareResult> {
  const result = { worlds: 0, events: 0, checkpoints: 0, crashes: 0, failures: [] as Failure[] };
  for (let seed = first; seed < first + count; seed++) {
    const { events, checkpoints, crashes, failure } = await runWorld(seed, { arena });
    result.worlds++;
    result.events += events;
    result.checkpoints += checkpoints;
    result.crashes += crashes;
    if (failure !== null) result.failures.push({ seed, failure });
  }
  return result;
}

type Failure = ShareResult["failures"][number];

worker.onmessage = async function (event) {
  worker.postMessage(await runShare(event.data));
};
