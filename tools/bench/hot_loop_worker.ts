// Runs a hot loop in a thread of its own, beside the replicator that empties its pool.

import { type HotLoopOptions, type HotLoopPool, runHotLoop } from "../../tests/support/hot_loop.ts";

const worker = self as unknown as {
  onmessage:
    | ((event: MessageEvent<{ options: HotLoopOptions; pool: HotLoopPool }>) => void)
    | null;
  postMessage(message: unknown): void;
  close(): void;
};

worker.onmessage = function (event) {
  worker.postMessage(runHotLoop(event.data.options, event.data.pool));
  worker.close();
};
