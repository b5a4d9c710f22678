// Entry point of a worker that runs worlds: gets seeds, answers with a sum for each share of them.

import { Arena } from "./daemon.ts";
import { added, NOTHING, type Share, type ShareResult } from "./run_seeds.ts";
import { runWorld } from "./run_world.ts";

const worker = self as unknown as {
  onmessage: ((event: MessageEvent<Share>) => void) | null;
  postMessage(message: ShareResult): void;
};

const arena = new Arena();

async function runShare({ first, count }: Share): Promise<ShareResult> {
  let sum = NOTHING;
  for (let seed = first; seed < first + count; seed++) {
    const { failure, diedAt, ...figures } = await runWorld(seed, { arena });
    sum = added(sum, {
      ...figures,
      worlds: 1,
      diedAt: Object.fromEntries(diedAt.map((name) => [name, 1])),
      failures: failure === null ? [] : [{ seed, failure }],
    });
  }
  return sum;
}

worker.onmessage = async function (event) {
  worker.postMessage(await runShare(event.data));
};
