// What a checkpoint costs on a big tree: CPU time of the writer alone, the store being a stub that
// keeps tree nodes and forgets data. Usage: deno run -A tests/bench/hyperfile_commit.ts [MILLIONS]

import { viewOf } from "../../src/base/struct.ts";
import { SegmentHeader } from "../../src/format/segment.ts";
import { createWriter } from "../support/sole_writer.ts";
import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import type { ObjectBody, PutResult } from "../../src/replica/object_store.ts";
import type { CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { Prng } from "../support/prng.ts";

/** Keeps what lies before the data blocks; data reads as zeros. */
class TreeOnlyStore extends MemoryStore {
  readonly #kept = new Map<string, { bytes: Uint8Array; size: number; etag: string }>();
  #puts = 0;

  override put(key: string, chunks: readonly Uint8Array[]): Promise<PutResult> {
    const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const head = viewOf(chunks[0]);
    const isSegment = key !== "inode";
    const nodes = isSegment ? head.getUint32(SegmentHeader.offset.nmetablk, true) : 0;
    const keep = chunks[0].length + nodes * 4096;
    const bytes = new Uint8Array(keep);
    let at = 0;
    for (const chunk of chunks) {
      if (at >= keep) break;
      bytes.set(chunk, at);
      at += chunk.length;
    }
    const etag = String(++this.#puts);
    this.#kept.set(key, { bytes, size, etag });
    return Promise.resolve({ stored: true, etag });
  }

  override get(
    key: string,
    options: { range?: { offset: number; length: number } } = {},
  ): Promise<ObjectBody | null> {
    const object = this.#kept.get(key);
    if (object === undefined) return Promise.resolve(null);
    const { bytes, size, etag } = object;
    const { offset, length } = options.range ?? { offset: 0, length: bytes.length };
    return Promise.resolve({ bytes: bytes.subarray(offset, offset + length), size, etag });
  }
}

const block = new Uint8Array(4096).fill(7);

function batch(keys: Float64Array): CheckpointBatch {
  return {
    blockCount: keys.length,
    blockIndex: (i) => keys[i],
    blockBytes: () => block,
    zeroRanges: [],
  };
}

function sequential(start: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => start + i);
}

function scattered(random: Prng, count: number, blocks: number): Float64Array {
  const keys = new Set<number>();
  while (keys.size < count) keys.add(random.below(blocks));
  return Float64Array.from(keys).sort();
}

function report(name: string, times: number[], extra = ""): void {
  times.sort((a, b) => a - b);
  const median = times[times.length >>> 1].toFixed(1);
  // deno-lint-ignore no-console -- a benchmark prints
  console.log(`${name}: median ${median} ms, max ${times.at(-1)!.toFixed(1)} ms${extra}`);
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

async function main(): Promise<void> {
  const blocks = Number(Deno.args[0] ?? 4) * 1_000_000;
  const store = new TreeOnlyStore();
  const random = new Prng(1);
  for (const nodeCacheBytes of [1 << 30, 0]) {
    const writer = await createWriter(store, { createdMs: 0, nodeCacheBytes });
    const fill: number[] = [];
    for (let at = 0; at < blocks; at += 65536) {
      const keys = sequential(at, Math.min(65536, blocks - at));
      fill.push(await timed(() => writer.commit(batch(keys), { mtimeMs: 1 })));
    }
    report(`sequential 65536 blocks, ${blocks} in all`, fill);
    for (const count of [1, 256, 4096]) {
      const times: number[] = [];
      let nodes = 0;
      for (let i = 0; i < 12; i++) {
        const keys = scattered(random, count, blocks);
        times.push(
          await timed(async () => {
            nodes = (await writer.commit(batch(keys), { mtimeMs: 1 })).metaBlocks;
          }),
        );
      }
      const cache = nodeCacheBytes === 0 ? "no cache" : "all cached";
      report(`random ${count} blocks, ${cache}`, times, `, ${nodes} nodes`);
    }
  }
  const reader = await HyperfileReader.open(store, { crossCheck: false });
  let extents = 0;
  const walk = await timed(async () => {
    for await (const extent of reader.extents()) extents += extent.blockCount > 0 ? 1 : 0;
  });
  report(`walk of ${extents} extents`, [walk]);
}

await main();
