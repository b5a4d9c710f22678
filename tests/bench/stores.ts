// How fast objects get into the stores, and what that costs: MiB/s and CPU seconds of this process
// per GiB. S3 is a server of ours in another process that swallows bodies, so that the client is what
// is measured. Usage: deno run -A tests/bench/stores.ts [FOLDER]   (the file store's folder)

import { GiB, MiB } from "../../src/base/units.ts";
import { FileStore } from "../../src/replica/file_store.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { MessageReader } from "../support/http_message.ts";

const BLOCK = 4096;
const RUN_MS = 2_000;

interface Row {
  readonly store: string;
  readonly size: string;
  readonly atOnce: number;
  readonly mibPerSecond: number;
  readonly cpuSecondsPerGib: number;
  readonly cpuMsPerPut: number;
  readonly p50Ms: number;
}

/** A segment as the writer lays it out: blocks from all over a shared pool, and a few long pieces. */
function segment(pool: Uint8Array, sizeBytes: number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const half = sizeBytes / 2;
  for (let at = 0; at < half; at += BLOCK) {
    const from = (at * 7919) % (pool.length - BLOCK);
    chunks.push(pool.subarray(from - (from % BLOCK), from - (from % BLOCK) + BLOCK));
  }
  chunks.push(pool.subarray(0, sizeBytes - half));
  return chunks;
}

async function measure(
  store: ObjectStore,
  options: { name: string; chunks: Uint8Array[]; sizeBytes: number; atOnce: number },
): Promise<Row> {
  const { name, chunks, sizeBytes, atOnce } = options;
  await store.put("warm", chunks);
  const times: number[] = [];
  const cpuBefore = cpuSeconds();
  const startMs = performance.now();
  async function worker(id: number): Promise<void> {
    while (performance.now() - startMs < RUN_MS) {
      const beganMs = performance.now();
      await store.put(`object-${id}`, chunks);
      times.push(performance.now() - beganMs);
    }
  }
  await Promise.all(Array.from({ length: atOnce }, (_, id) => worker(id)));
  const seconds = (performance.now() - startMs) / 1000;
  const cpu = cpuSeconds() - cpuBefore;
  const bytes = times.length * sizeBytes;
  return {
    store: name,
    size: sizeBytes >= MiB ? `${sizeBytes / MiB} MiB` : `${sizeBytes} B`,
    atOnce,
    mibPerSecond: Math.round(bytes / MiB / seconds),
    cpuSecondsPerGib: Number((cpu / (bytes / GiB)).toFixed(2)),
    cpuMsPerPut: Number((1000 * cpu / times.length).toFixed(2)),
    p50Ms: Number(times.sort((a, b) => a - b)[times.length >> 1].toFixed(2)),
  };
}

/** User and system time of this process's threads so far. */
function cpuSeconds(): number {
  const fields = Deno.readTextFileSync("/proc/self/stat").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Answers every PUT, POST and DELETE as S3 would, and forgets the body. */
async function swallow(): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  say(`${(listener.addr as Deno.NetAddr).port}`);
  const upload = "<InitiateMultipartUploadResult><UploadId>1</UploadId>" +
    "</InitiateMultipartUploadResult>";
  const done = '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>';
  const encoder = new TextEncoder();
  for await (const connection of listener) {
    (async () => {
      const reader = new MessageReader(connection, () => Infinity);
      const scratch = new Uint8Array(4 * MiB);
      for (let head = await reader.readHead(); head !== null; head = await reader.readHead()) {
        await reader.skip(Number(head.headers.get("content-length") ?? 0), scratch);
        const body = head.startLine.includes("uploads") ? upload : done;
        const isPost = head.startLine.startsWith("POST");
        const text = isPost ? body : "";
        await connection.write(encoder.encode(
          `HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
        ));
      }
    })().catch(() => {});
  }
}

async function main(): Promise<void> {
  const folder = await Deno.makeTempDir({ dir: Deno.args[0], prefix: "hir-bench-" });
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", import.meta.url, "--swallow"],
    stdout: "piped",
  }).spawn();
  const reader = server.stdout.getReader();
  const port = new TextDecoder().decode((await reader.read()).value).trim();
  const credentials = { accessKeyId: "bench", secretAccessKey: "bench" };
  const endpoint = `http://127.0.0.1:${port}`;
  const s3 = { bucket: "bench", key: "root", endpoint, credentials };
  const stores: [string, ObjectStore][] = [
    ["file", await FileStore.open({ path: folder, access: "create" })],
    ["s3", new S3Store({ ...s3, signPayload: false })],
    ["s3, signed bodies", new S3Store({ ...s3, signPayload: true })],
  ];
  const pool = new Uint8Array(new SharedArrayBuffer(256 * MiB));
  crypto.getRandomValues(new Uint8Array(65_536)).forEach((byte, i) => pool[i * 4096] = byte);
  say("store | body | at once | MiB/s | CPU s/GiB | CPU ms/PUT | p50 ms");
  for (const [name, store] of stores) {
    for (
      const [sizeBytes, atOnce] of [[160, 1], [MiB, 1], [16 * MiB, 1], [16 * MiB, 4], [64 * MiB, 1]]
    ) {
      const chunks = sizeBytes < BLOCK ? [pool.subarray(0, sizeBytes)] : segment(pool, sizeBytes);
      const row = await measure(store, { name, chunks, sizeBytes, atOnce });
      say(Object.values(row).join(" | "));
    }
    await store.close();
  }
  server.kill();
  await reader.cancel();
  await Deno.remove(folder, { recursive: true });
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) await (Deno.args[0] === "--swallow" ? swallow() : main());
