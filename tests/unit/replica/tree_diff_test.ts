// The difference of two trees against the full lists of their pointers, over random histories. The seed is
// printed; SEED=… replays one history (and only it), HISTORIES=… runs more of them.

import { ReplicaError } from "../../../src/base/errors.ts";
import type { BlockRange } from "../../../src/format/checkpoint_batch.ts";
import { decodeInode, type Inode } from "../../../src/format/inode.ts";
import { readHead } from "../../../src/replica/inode_reader.ts";
import { changedBlocks, findChanged } from "../../../src/replica/tree_diff.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { type ModelledFile, randomFile } from "../../support/hyperfile_model.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import { createWriter, openWriter } from "../../support/sole_writer.ts";
import { TracedStore } from "../../support/traced_store.ts";
import { bruteDifference, carriedInodeBytes, treePointers } from "../../support/tree_pointers.ts";

const AT = { mtimeMs: 5 };
const ALL = { nodesMax: Infinity };

/** The runs of a comparison, as blocks, and whether it was whole. */
async function compare(
  store: TracedStore,
  [before, after]: readonly [Inode, Inode],
  nodesMax = Infinity,
): Promise<{ blocks: number[]; isWhole: boolean }> {
  const changed = changedBlocks(store, { before, after }, { nodesMax });
  const blocks: number[] = [];
  for (;;) {
    const { done, value } = await changed.next();
    if (done) return { blocks, isWhole: value.isWhole };
    assert(value.blockCount > 0, "a run has blocks");
    for (let i = 0; i < value.blockCount; i++) blocks.push(value.startBlock + i);
  }
}

/** Compares two trees in every way that must agree with the full lists of their pointers. */
async function checkPair(store: TracedStore, one: Uint8Array, other: Uint8Array, random: Prng) {
  const trees = [decodeInode(one, "before"), decodeInode(other, "after")] as const;
  const expected = bruteDifference(treePointers(store, one), treePointers(store, other));
  // Each node that only one tree has is read once, and no other.
  assertEquals(await compare(store, trees, expected.nodes), {
    blocks: expected.blocks,
    isWhole: true,
  });
  if (expected.nodes === 0) return;
  const { blocks, isWhole } = await compare(store, trees, random.below(expected.nodes));
  assertEquals([isWhole, blocks], [false, expected.blocks.slice(0, blocks.length)]);
}

async function compareHistory(file: ModelledFile, steps: number): Promise<void> {
  const { random } = file;
  const store = file.store as TracedStore;
  const inodes = [(await readHead(store)).bytes];
  for (let step = 0; step < steps; step++) {
    const kind = random.below(20);
    if (kind === 0) await file.reopen();
    else if (kind === 1 && file.writer.hasStaged) await file.discard();
    else await file.commitRandom();
    const { lastCno } = file.writer;
    if (lastCno > 0) inodes.push(carriedInodeBytes(store, lastCno));
  }
  for (let i = 1; i < inodes.length; i++) await checkPair(store, inodes[i - 1], inodes[i], random);
  for (let i = 0; i < 4; i++) {
    await checkPair(store, random.pick(inodes), random.pick(inodes), random);
  }
}

Deno.test("changedBlocks() gives what the full lists of pointers differ in", async () => {
  const seed = seedOf("tree diff");
  const histories = Deno.env.has("SEED") ? 1 : Number(Deno.env.get("HISTORIES") ?? 12);
  for (let i = 0; i < histories; i++) {
    const random = new Prng((seed + i) >>> 0);
    try {
      await compareHistory(await randomFile(random, { batchMax: 400 }), 3 + random.below(15));
    } catch (cause) {
      throw new Error(`history failed: replay with SEED=${(seed + i) >>> 0}`, { cause });
    }
  }
});

/** A replica, with the inode after each commit of zero pointers or holes over ranges. */
async function inodesOf(
  steps: readonly { form: "pointer" | "hole"; range: BlockRange }[],
): Promise<{ store: TracedStore; inodes: Inode[] }> {
  const store = new TracedStore();
  const inodes: Inode[] = [];
  await createWriter(store, { createdMs: 1 });
  inodes.push((await readHead(store)).inode);
  for (const { form, range } of steps) {
    const writer = await openWriter(store, { zeroForm: form });
    await writer.commit(batchOf([], [range]), AT);
    inodes.push((await readHead(store)).inode);
  }
  store.requests.length = 0;
  return { store, inodes };
}

const GROWN = { form: "pointer", range: { startBlock: 0, blockCount: 300_000 } } as const;

Deno.test("changedBlocks() reads no node of trees that are the same", async () => {
  const { store, inodes: [, grown] } = await inodesOf([GROWN]);
  assertEquals(await compare(store, [grown, grown], 0), { blocks: [], isWhole: true });
  assertEquals(store.requests, []);
});

Deno.test("changedBlocks() finds a whole tree gained, and a subtree lost", async () => {
  const range = { startBlock: 1000, blockCount: 290_000 };
  const { store, inodes } = await inodesOf([GROWN, { form: "hole", range }]);
  const [empty, grown, shrunk] = inodes;
  const gained = await compare(store, [empty, grown]);
  assertEquals(gained, { blocks: Array.from({ length: 300_000 }, (_, i) => i), isWhole: true });
  const lost = Array.from({ length: 290_000 }, (_, i) => 1000 + i);
  assertEquals(await compare(store, [grown, shrunk]), { blocks: lost, isWhole: true });
  // As a restored replica would be: the same, seen from the other side.
  assertEquals(await compare(store, [shrunk, grown]), { blocks: lost, isWhole: true });
});

Deno.test("changedBlocks() reads only for as long as it is asked", async () => {
  const range = { startBlock: 1000, blockCount: 290_000 };
  const { store, inodes: [, grown, shrunk] } = await inodesOf([GROWN, { form: "hole", range }]);
  const trees = { before: grown, after: shrunk };
  const found = await findChanged(store, trees, { ...ALL, isWanted: (block) => block > 1010 });
  assertEquals(found, { block: 1011, isWhole: false });
  const first = store.requests.length;
  store.requests.length = 0;
  assertEquals(await findChanged(store, trees, { ...ALL, isWanted: (block) => block < 1000 }), {
    block: null,
    isWhole: true,
  });
  assert(first <= 8 && first < store.requests.length, `${first} of ${store.requests.length}`);
});

Deno.test("changedBlocks() of a few blocks reads a path of each tree", async () => {
  const range = { startBlock: 200_000, blockCount: 2 };
  const { store, inodes: [, grown, holed] } = await inodesOf([GROWN, { form: "hole", range }]);
  assertEquals((await compare(store, [grown, holed])).blocks, [200_000, 200_001]);
  assert(store.count("get") <= 8, `${store.count("get")} requests`);
});

Deno.test("changedBlocks() ends before it reads more nodes than it may", async () => {
  const { store, inodes: [empty, grown] } = await inodesOf([GROWN]);
  const { blocks, isWhole } = await compare(store, [empty, grown], 10);
  assert(!isWhole && blocks.length > 255 && blocks.length <= 10 * 255, `${blocks.length} blocks`);
  assertEquals(await compare(store, [empty, grown], 0), { blocks: [], isWhole: false });
});

Deno.test("changedBlocks() tells damage where it meets it", async () => {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1 });
  const inodes: Inode[] = [];
  for (let round = 1; round <= 2; round++) {
    const blocks = Array.from({ length: 9 }, (_, i) => [i, filled(round)] as const);
    await writer.commit(batchOf(blocks), AT);
    inodes.push((await readHead(store)).inode);
  }
  const [before, after] = inodes;
  async function assertDamage(part: string, young = after): Promise<void> {
    const error: unknown = await compare(store, [before, young]).catch((error) => error);
    assert(error instanceof ReplicaError && error.kind === "data", `${part}: ${error}`);
    assert(error.message.includes(part), `${part}: ${error.message}`);
  }
  const segment = "0000000001";
  const whole = store.bytesOf(segment);
  // The leaf is the first thing after the summary: its level, its first key, its first pointer's segment.
  for (const [at, value] of [[1, 2], [8, 1], [2048 + 4, 3]]) {
    const damaged = whole.slice();
    damaged[4096 + at] = value;
    store.set(segment, damaged);
    await assertDamage(segment);
  }
  store.set(segment, whole.subarray(0, 4096 + 100));
  await assertDamage("ends at");
  await store.delete(segment);
  await assertDamage("missing");
  await assertDamage("block sizes", { ...after, metaConfig: after.metaConfig + 0x100 });
});
