// Random histories of a Hyperfile against a shadow in memory. The seed is printed when a history
// fails; SEED=… replays it (and only it), HISTORIES=… runs more of them.

import { chance, ModelledFile, type Shape } from "../support/hyperfile_model.ts";
import { TracedStore } from "../support/traced_store.ts";
import { Prng, seedOf } from "../support/prng.ts";

const SHAPES: readonly Shape[] = [
  shape({ blocks: 12, batchMax: 4 }),
  shape({ blocks: 3000, batchMax: 300 }),
  shape({ blocks: 3000, batchMax: 300, pointers: true }),
  shape({ blocks: 300_000, batchMax: 1500 }),
  shape({ blocks: 2 ** 30, batchMax: 1500 }),
  shape({ blocks: 5000, batchMax: 200, metaBlockBytes: 16384 }),
  shape({ blocks: 2000, batchMax: 20, dataBlockBytes: 16384 }),
];

function shape(options: {
  blocks: number;
  batchMax: number;
  metaBlockBytes?: number;
  dataBlockBytes?: number;
  pointers?: boolean;
}): Shape {
  const { blocks, batchMax, metaBlockBytes = 4096, dataBlockBytes = 4096 } = options;
  const zeroForm = options.pointers ? "pointer" : "hole";
  return { blocks, batchMax, metaBlockBytes, dataBlockBytes, writer: { zeroForm } };
}

async function runHistory(seed: number): Promise<void> {
  const random = new Prng(seed);
  const base = random.pick(SHAPES);
  // A cache that holds nothing, a handful of nodes, or everything.
  const nodeCacheBytes = random.pick([0, 20 * 4096, 1 << 30]);
  const file = new ModelledFile(
    new TracedStore(),
    { ...base, writer: { ...base.writer, nodeCacheBytes } },
    random,
  );
  await file.create();
  const steps = 5 + random.below(40);
  for (let step = 0; step < steps; step++) {
    const kind = random.below(20);
    if (kind === 0) await file.reopen();
    else if (kind === 1 && file.writer.hasStaged) await file.discard();
    else await file.commitRandom();
    // Number 0 means the head, so the empty checkpoint can be opened only while it is the newest.
    const cnos = [...file.published.keys()].filter((cno) => cno > 0);
    if (cnos.length > 0 && chance(random, 0.1)) await file.check(random.pick(cnos));
    if (step === steps - 1) await file.check(file.writer.lastCno);
  }
}

Deno.test("Hyperfile holds what random histories of commits wrote", async () => {
  const seed = seedOf("hyperfile model");
  const histories = Deno.env.has("SEED") ? 1 : Number(Deno.env.get("HISTORIES") ?? 60);
  for (let i = 0; i < histories; i++) {
    try {
      await runHistory((seed + i) >>> 0);
    } catch (cause) {
      throw new Error(`history failed: replay with SEED=${(seed + i) >>> 0}`, { cause });
    }
  }
});
