// The writer killed at every request it makes, before and after the request took effect; then the
// recovery killed likewise. What is found afterwards is always checkpoint N or N+1, whole.

import type { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { createWriter, openWriter } from "../support/sole_writer.ts";
import type { CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { readImage } from "../support/image.ts";
import { Prng } from "../support/prng.ts";
import type { TracedStore } from "../support/traced_store.ts";
import { TracedStore as Store } from "../support/traced_store.ts";

const BLOCKS = 700;
const SIZE_BYTES = BLOCKS * 4096;

interface Step {
  readonly batch: CheckpointBatch;
  readonly publish: boolean;
  /** The image after this step. */
  readonly image: Uint8Array;
}

/** A fixed history: direct root, level 1, level 2, staged segments, zeroing. */
function makeSteps(): Step[] {
  const random = new Prng(5);
  const image = new Uint8Array(SIZE_BYTES);
  const steps: Step[] = [];
  const sizes = [2, 3, 400, 20, 50, 30, 1];
  sizes.forEach((count, round) => {
    const blocks = new Map<number, Uint8Array>();
    while (blocks.size < count) {
      const key = round === 0 ? blocks.size : random.below(BLOCKS);
      blocks.set(key, stamped(round * 1000 + key + 1));
    }
    const zeros = round === 4 ? [{ startBlock: 100, blockCount: 300 }] : [];
    for (const key of [...blocks.keys()]) {
      if (zeros.some((z) => key >= z.startBlock && key < z.startBlock + z.blockCount)) {
        blocks.delete(key);
      }
    }
    for (const z of zeros) {
      image.fill(0, z.startBlock * 4096, (z.startBlock + z.blockCount) * 4096);
    }
    for (const [key, bytes] of blocks) image.set(bytes, key * 4096);
    const publish = round !== 4 && round !== 5;
    steps.push({ batch: batchOf(blocks, zeros), publish, image: image.slice() });
  });
  return steps;
}

const STEPS = makeSteps();

class Killed extends Error {}

/** From request `at` on the process is dead; request `at` itself took effect or not. */
function killAt(store: TracedStore, at: number, takesEffect: boolean): void {
  store.requests.length = 0;
  store.hook = (_request, ordinal) => {
    if (ordinal < at) return undefined;
    if (ordinal === at && takesEffect) return "answer-lost";
    throw new Killed();
  };
}

function revive(store: TracedStore): void {
  store.hook = () => undefined;
}

/** Runs the history until it ends or is killed. Returns the number of steps that were published. */
async function run(store: TracedStore, nodeCacheBytes: number): Promise<number> {
  let published = -1;
  try {
    const options = { createdMs: 1, sizeBytes: SIZE_BYTES, nodeCacheBytes };
    const writer = await createWriter(store, options);
    published = 0;
    for (let i = 0; i < STEPS.length; i++) {
      await writer.commit(STEPS[i].batch, { mtimeMs: i + 1, publish: STEPS[i].publish });
      if (STEPS[i].publish) published = i + 1;
    }
  } catch {
    return published;
  }
  return published;
}

function imageAfter(published: number): Uint8Array {
  return published === 0 ? new Uint8Array(SIZE_BYTES) : STEPS[published - 1].image;
}

function nextPublished(published: number): number {
  for (let i = published + 1; i <= STEPS.length; i++) if (STEPS[i - 1].publish) return i;
  return published;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Opens for writing, killed at each request in turn until it gets through. */
async function recover(store: TracedStore, adopt: boolean): Promise<HyperfileWriter> {
  for (let at = 0;; at++) {
    killAt(store, at, at % 2 === 0);
    try {
      return await openWriter(store, { adopt });
    } catch {
      assert(at < 50, "recovery ends");
    }
  }
}

async function checkAfterKill(store: TracedStore, published: number, adopt: boolean) {
  revive(store);
  const allowed = [published, nextPublished(published)];
  const before = await readImage(store);
  const seen = allowed.find((n) => same(before, imageAfter(n)));
  assert(seen !== undefined, `a reader sees step ${allowed}`);
  const writer = await recover(store, adopt);
  revive(store);
  const image = await readImage(store);
  const found = allowed.find((n) => same(image, imageAfter(n)));
  assert(found !== undefined && found >= seen, `recovery finds step ${allowed}`);
  if (!adopt) assertEquals(found, seen);
  // Life goes on: the rest of the history on top of what was found.
  for (let i = found; i < STEPS.length; i++) {
    await writer.commit(STEPS[i].batch, { mtimeMs: 100 + i, publish: STEPS[i].publish });
  }
  assert(same(await readImage(store), STEPS[STEPS.length - 1].image), "the history can be resumed");
}

for (const nodeCacheBytes of [0, 1 << 20]) {
  for (const adopt of [true, false]) {
    const cache = nodeCacheBytes === 0 ? "no cache" : "a cache";
    Deno.test(`a kill at any request leaves N or N+1 (${adopt ? "adopted" : "emptied"}, ${cache})`, async () => {
      const whole = new Store();
      assertEquals(await run(whole, nodeCacheBytes), STEPS.length);
      const requests = whole.requests.length;
      for (let at = 0; at < requests; at++) {
        for (const takesEffect of [false, true]) {
          const store = new Store();
          killAt(store, at, takesEffect);
          const published = await run(store, nodeCacheBytes);
          if (published < 0) continue;
          await checkAfterKill(store, published, adopt);
        }
      }
    });
  }
}
