// Fills the pool as a queue does, as fast as the pool takes it: blocks of changing content, one entry
// per request, waiting where the pool is full. Answers with the CPU time that its thread took.

import { ringIfAsleep, ringReplicator } from "../../src/shared/bell.ts";
import { sharedViews, WORD } from "../../src/shared/layout.ts";
import { ENTRY_DATA, Pool } from "../../src/shared/pool.ts";
import { Prng } from "../../tests/support/prng.ts";
import type { ProducerJob } from "./drain_job.ts";

const worker = self as unknown as {
  onmessage: ((event: MessageEvent<ProducerJob>) => void) | null;
  postMessage(cpuSeconds: number): void;
  close(): void;
};

const FULL_WAIT_MS = 20;

/** CPU time of the calling thread. */
function threadCpuSeconds(): number {
  const [ranNs] = Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ");
  return Number(ranNs) / 1e9;
}

function produce({ shared, layout, workload }: ProducerJob): void {
  const views = sharedViews(shared, layout);
  const { words, memory } = views;
  const pool = new Pool(views);
  const random = new Prng(1);
  const units = workload.entryBytes / layout.unitBytes;
  const places = Math.floor(workload.spanBytes / workload.entryBytes);
  const entries = Math.floor(workload.totalBytes / workload.entryBytes);
  const source = layout.tagBuffersOffset;
  const stamps = new Int32Array(shared, source, workload.entryBytes / 4);
  random.fill(memory.subarray(source, source + workload.entryBytes));
  for (let entry = 0; entry < entries; entry++) {
    for (let unit = 0; unit < units; unit++) stamps[unit * layout.unitBytes / 4] = entry + 1;
    while (!pool.reserve(units)) {
      const tail = pool.tail();
      Atomics.add(words, WORD.poolWaiters, 1);
      ringReplicator(words);
      Atomics.wait(words, WORD.poolTail, tail, FULL_WAIT_MS);
      Atomics.sub(words, WORD.poolWaiters, 1);
    }
    const position = pool.reservedAt;
    const place = workload.random ? random.below(places) : entry % places;
    pool.fill(position, source, workload.entryBytes);
    pool.publish(position, ENTRY_DATA, place * units, units);
    ringIfAsleep(words);
  }
}

worker.onmessage = function (event) {
  const before = threadCpuSeconds();
  produce(event.data);
  worker.postMessage(threadCpuSeconds() - before);
  worker.close();
};
