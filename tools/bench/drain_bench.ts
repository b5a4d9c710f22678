// How fast the replicator empties the pool: to a folder on this machine's disk and in its memory, to a
// real S3 server (moto, a Python program that is slower than us) and to a sink that only answers.

import { GiB, MiB } from "../../src/base/units.ts";
import type { S3Options } from "../../src/replica/s3_settings.ts";
import { startS3Server } from "../../tests/support/s3_server.ts";
import type { DrainJob, DrainResult, Workload } from "./drain_job.ts";
import { say, table } from "./print.ts";

const PROBE = new URL("./drain_probe.ts", import.meta.url).pathname;
const SINK = new URL("./http_sink_probe.ts", import.meta.url).pathname;
const POOL_BYTES = 256 * MiB;

export interface DrainRow extends DrainResult {
  readonly store: string;
  readonly workload: string;
}

function workloads(totalBytes: number): Workload[] {
  return [
    { name: "512 KiB sequential", entryBytes: 524288, random: false, totalBytes, spanBytes: GiB },
    { name: "4 KiB random", entryBytes: 4096, random: true, totalBytes, spanBytes: 4 * GiB },
  ];
}

/** `megabytes` are written to each store, by each workload; a quarter of it to moto. */
export async function drainBench(options: { megabytes: number }): Promise<DrainRow[]> {
  const totalBytes = options.megabytes * MiB;
  const rows: DrainRow[] = [];
  const add = async (store: string, place: DrainJob["store"], workload: Workload) => {
    const job: DrainJob = { store: place, workload, poolBytes: POOL_BYTES };
    const row = { store, workload: workload.name, ...await runProbe(job) };
    say(`${store}, ${workload.name}: ${(row.bytes / MiB / row.seconds).toFixed(0)} MiB/s`);
    rows.push(row);
  };
  for (const workload of workloads(totalBytes)) {
    await inFolder(undefined, (path) => add("file, disk", { path }, workload));
    await inFolder("/dev/shm", (path) => add("file, memory", { path }, workload));
    await withSink((s3) => add("S3, sink", { s3 }, workload));
  }
  const server = await startS3Server();
  try {
    for (const workload of workloads(totalBytes / 4)) {
      await add("S3, moto", { s3: await server.createRoot() }, workload);
    }
  } finally {
    server.stop();
  }
  return rows;
}

async function runProbe(job: DrainJob): Promise<DrainResult> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", PROBE, JSON.stringify(job)],
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`Cannot measure the replicator: ${decoder.decode(stderr)}`);
  return JSON.parse(decoder.decode(stdout));
}

async function inFolder(
  parent: string | undefined,
  body: (path: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ dir: parent, prefix: "bench-" });
  try {
    await body(`${dir}/replica`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function withSink(body: (s3: S3Options) => Promise<void>): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", SINK],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  try {
    const port = await firstLine(child.stdout);
    await body({
      bucket: "sink",
      key: crypto.randomUUID(),
      endpoint: `http://127.0.0.1:${port}`,
      region: "us-east-1",
      credentials: { accessKeyId: "test", secretAccessKey: "test" },
    });
  } finally {
    child.kill("SIGKILL");
    await child.stdin.close().catch(() => undefined); // it is gone
    await child.status;
  }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text.trim();
}

export function printDrain(rows: readonly DrainRow[]): void {
  say(`
The replicator, natively: a thread fills the pool (${
    POOL_BYTES / MiB
  } MiB) as fast as it takes entries. CPU is the
process's without that thread. Per GiB: of what was written by the guest, before coalescing.`);
  say(table(
    ["", "MiB/s", "CPU s/GiB", "checkpoints", "PUTs/GiB", "MiB put/GiB", "peak MiB"],
    rows.map((row) => {
      const gibs = row.bytes / GiB;
      return [
        `${row.store}: ${row.workload}`,
        (row.bytes / MiB / row.seconds).toFixed(0),
        (row.cpuSeconds / gibs).toFixed(2),
        String(row.checkpoints),
        (row.puts / gibs).toFixed(0),
        (row.putBytes / MiB / gibs).toFixed(0),
        (row.peakRssBytes / MiB).toFixed(0),
      ];
    }),
  ));
}
