// A whole device in one process but for the driver: the I/O path at full speed in one thread, and in
// the other the replicator with a replica in a folder. Takes HotLoopOptions and a folder as JSON, prints
// the loop's result; with the loop handler the replicator idles.

import type { HotLoopOptions, HotLoopResult } from "../../tests/support/hot_loop.ts";
import { hotLoopLayout, openDoorbell } from "../../tests/support/hot_loop.ts";
import { populate } from "../../ffi/memory.ts";
import { systemClock } from "../../src/base/clock.ts";
import { FileStore } from "../../src/replica/file_store.ts";
import { allocateShared, sharedViews } from "../../src/shared/layout.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { openReplicator } from "./open_replicator.ts";

async function main(options: HotLoopOptions, folder: string): Promise<HotLoopResult> {
  const store = await FileStore.open({ path: folder, access: "create", clock: systemClock });
  const layout = hotLoopLayout(options);
  const shared = allocateShared(layout);
  const views = sharedViews(shared, layout);
  // As a device's start does where there is memory enough.
  await populate(views.memory.subarray(layout.unitsOffset));
  const doorbellFd = openDoorbell();
  const doorbells = Doorbells.ofEventfds(views, [doorbellFd]);
  const { writer, replicator } = await openReplicator(store, views, {
    sizeBytes: options.startBytes + options.spanBytes,
    wakeQueues: () => doorbells.ringAll(),
  });
  // An idle replicator waits for its bell, and that alone does not keep a process alive.
  const keepAlive = setInterval(() => {}, 1_000);
  const running = replicator.run();
  const result = await runLoop({ options, pool: { shared, layout, doorbellFd } });
  replicator.abandon();
  await running;
  clearInterval(keepAlive);
  writer.close();
  await store.close();
  return result;
}

function runLoop(message: unknown): Promise<HotLoopResult> {
  const worker = new Worker(import.meta.resolve("./hot_loop_worker.ts"), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<HotLoopResult>) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(message);
  });
}

const { options, folder }: { options: HotLoopOptions; folder: string } = JSON.parse(Deno.args[0]);
const result = await main(options, folder);
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));
