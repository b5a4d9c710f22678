// Measures the replicator in a process of its own: the real pool, Replicator, HyperfileWriter and store,
// with a thread that fills the pool and no primary (the flush log's write per checkpoint is left out).
// Takes a DrainJob as JSON, prints a DrainResult.

import process from "node:process";
import { systemClock } from "../../src/base/clock.ts";
import { KiB } from "../../src/base/units.ts";
import { FileStore } from "../../src/replica/file_store.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { DAEMON_RETRY, RetryStore } from "../../src/replica/retry_store.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../src/shared/counters.ts";
import {
  allocateShared,
  type SharedLayout,
  sharedLayout,
  sharedViews,
  WORD,
} from "../../src/shared/layout.ts";
import { openReplicator } from "./open_replicator.ts";
import type { DrainJob, DrainResult, ProducerJob } from "./drain_job.ts";

const UNIT_BYTES = 4096;

/** Counts what is put, below the retries. */
interface Puts {
  count: number;
  bytes: number;
}

async function openStore(job: DrainJob, puts: Puts): Promise<ObjectStore> {
  const clock = systemClock;
  const store: ObjectStore = "path" in job.store
    ? await FileStore.open({ path: job.store.path, access: "create", clock })
    : new S3Store({ ...job.store.s3, clock });
  const put = store.put.bind(store);
  store.put = (key, chunks, options) => {
    puts.count++;
    puts.bytes += chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    return put(key, chunks, options);
  };
  return new RetryStore(store, { policy: DAEMON_RETRY });
}

/** Starts the thread that fills the pool; resolves with its CPU seconds. */
function startProducer(job: ProducerJob): Promise<number> {
  const worker = new Worker(import.meta.resolve("./producer_worker.ts"), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<number>) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(job);
  });
}

function layoutOf({ workload, poolBytes }: DrainJob): SharedLayout {
  return sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: Math.max(workload.entryBytes, 512 * KiB),
    unitBytes: UNIT_BYTES,
    poolBytes,
    regionBytes: UNIT_BYTES,
    deviceSizeBytes: UNIT_BYTES,
  });
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function main(job: DrainJob): Promise<DrainResult> {
  const puts: Puts = { count: 0, bytes: 0 };
  const store = await openStore(job, puts);
  const layout = layoutOf(job);
  const shared = allocateShared(layout);
  const views = sharedViews(shared, layout);
  const { writer, replicator } = await openReplicator(store, views, {
    sizeBytes: job.workload.spanBytes,
    wakeQueues: () => Atomics.notify(views.words, WORD.poolTail),
  });
  const before = { cpu: cpuSeconds(), ms: performance.now(), puts: { ...puts } };
  const running = replicator.run();
  const producerCpu = await startProducer({ shared, layout, workload: job.workload });
  replicator.stop();
  await running;
  const seconds = (performance.now() - before.ms) / 1000;
  const row = views.counters.subarray(replicatorCounters(views));
  const result: DrainResult = {
    bytes: row[REPLICATOR_COUNTER.drainedBytes],
    seconds,
    cpuSeconds: cpuSeconds() - before.cpu - producerCpu,
    checkpoints: row[REPLICATOR_COUNTER.checkpoints],
    puts: puts.count - before.puts.count,
    putBytes: puts.bytes - before.puts.bytes,
    peakRssBytes: process.resourceUsage().maxRSS * KiB,
  };
  writer.close();
  await store.close();
  return result;
}

const result = await main(JSON.parse(Deno.args[0]));
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));
