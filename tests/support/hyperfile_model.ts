// A Hyperfile and its shadow: random histories of writes, zeroing, commits, staged commits and
// reopening, with every published checkpoint remembered.

import type { BlockRange, CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import type { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { createWriter, openWriter } from "./sole_writer.ts";
import type { WriterOptions } from "../../src/replica/writer_options.ts";
import { assert, assertEquals } from "./assert.ts";
import { batchOf, stamped } from "./batches.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { TracedStore } from "./traced_store.ts";
import { buildTreeImage } from "./tree_image.ts";
import type { Prng } from "./prng.ts";

export interface Shape {
  /** Blocks that the file may have. */
  readonly blocks: number;
  readonly batchMax: number;
  readonly dataBlockBytes: number;
  readonly metaBlockBytes: number;
  readonly writer: WriterOptions;
}

/** What each block holds: its stamp; blocks that are not there are zero. */
export type Shadow = Map<number, number>;

/** A checkpoint. Its size in the inode object may be changed after it was committed. */
export interface Published {
  readonly shadow: Shadow;
  readonly sizeBytes: number;
  readonly headSizeBytes: number;
}

/** True with the given probability. */
export function chance(random: Prng, probability: number): boolean {
  return random.next() < probability * 2 ** 32;
}

export class ModelledFile {
  readonly store: ObjectStore;
  readonly shape: Shape;
  readonly random: Prng;
  /** Contents of the tree in memory, staged segments included. */
  shadow: Shadow = new Map();
  sizeBytes = 0;
  /** Checkpoints by number. */
  readonly published = new Map<number, Published>();
  #writer: HyperfileWriter | null = null;
  #stamp = 1;
  #nextBlock = 0;

  constructor(store: ObjectStore, shape: Shape, random: Prng) {
    this.store = store;
    this.shape = shape;
    this.random = random;
  }

  get writer(): HyperfileWriter {
    assert(this.#writer !== null, "the file is open");
    return this.#writer;
  }

  async create(): Promise<void> {
    const { metaBlockBytes, dataBlockBytes, writer } = this.shape;
    const options = { ...writer, metaBlockBytes, dataBlockBytes, createdMs: 1_700_000_000_000 };
    this.#writer = await createWriter(this.store, options);
    this.published.set(0, { shadow: new Map(), sizeBytes: 0, headSizeBytes: 0 });
  }

  /** Takes over a store that somebody else has filled; its newest checkpoint holds `shadow`. */
  async adopt(last: { cno: number; shadow: Shadow; sizeBytes: number }): Promise<void> {
    this.published.set(last.cno, { ...last, headSizeBytes: last.sizeBytes });
    this.#stamp = 1_000_000;
    await this.reopen();
    assertEquals(this.writer.lastCno, last.cno);
  }

  async reopen(): Promise<void> {
    this.#writer?.close();
    this.#writer = await openWriter(this.store, this.shape.writer);
    const last = this.published.get(this.#writer.lastCno);
    assert(last !== undefined, `checkpoint ${this.#writer.lastCno} is one that was published`);
    this.shadow = new Map(last.shadow);
    this.sizeBytes = last.headSizeBytes;
  }

  /** A random batch, and the shadow after it. */
  randomBatch(): { batch: CheckpointBatch; after: Shadow; endBlock: number } {
    const { random } = this;
    const blocks = new Map<number, Uint8Array>();
    const zeros: BlockRange[] = [];
    const pattern = random.below(10);
    if (pattern < 4) this.#addSequential(blocks);
    if (pattern >= 3 && pattern < 8) this.#addRandom(blocks);
    if (pattern >= 6) this.#addZeros(blocks, zeros);
    const after = new Map(this.shadow);
    let endBlock = 0;
    for (const { startBlock, blockCount } of zeros) {
      const end = startBlock + blockCount;
      endBlock = Math.max(endBlock, end);
      if (blockCount > after.size) {
        for (const block of [...after.keys()]) {
          if (block >= startBlock && block < end) after.delete(block);
        }
      } else for (let block = startBlock; block < end; block++) after.delete(block);
    }
    for (const [block, bytes] of blocks) {
      const stamp = new Float64Array(bytes.buffer)[0];
      if (stamp === 0) after.delete(block);
      else after.set(block, stamp);
      endBlock = Math.max(endBlock, block + 1);
    }
    return { batch: batchOf(blocks, zeros), after, endBlock };
  }

  #addBlock(blocks: Map<number, Uint8Array>, block: number): void {
    const stamp = chance(this.random, 0.03) ? 0 : this.#stamp++;
    blocks.set(block, stamped(stamp, this.shape.dataBlockBytes));
  }

  #addSequential(blocks: Map<number, Uint8Array>): void {
    const count = 1 + this.random.below(this.shape.batchMax);
    if (chance(this.random, 0.3)) this.#nextBlock = this.random.below(this.shape.blocks);
    for (let i = 0; i < count; i++) {
      this.#addBlock(blocks, this.#nextBlock++ % this.shape.blocks);
    }
  }

  #addRandom(blocks: Map<number, Uint8Array>): void {
    const count = 1 + this.random.below(this.shape.batchMax);
    const cluster = chance(this.random, 0.5) ? this.shape.blocks : 1 + this.random.below(2000);
    const base = this.random.below(this.shape.blocks);
    for (let i = 0; i < count; i++) {
      this.#addBlock(blocks, (base + this.random.below(cluster)) % this.shape.blocks);
    }
  }

  #addZeros(blocks: Map<number, Uint8Array>, zeros: BlockRange[]): void {
    let at = 0;
    const count = 1 + this.random.below(4);
    for (let i = 0; i < count && at < this.shape.blocks; i++) {
      const startBlock = at + this.random.below(this.shape.blocks - at);
      const long = chance(this.random, 0.3) ? this.shape.blocks - startBlock : 300;
      const length = 1 + this.random.below(Math.min(long, this.shape.blocks - startBlock));
      zeros.push({ startBlock, blockCount: length });
      at = startBlock + length;
    }
    for (const block of blocks.keys()) {
      const hit = zeros.some((z) => block >= z.startBlock && block < z.startBlock + z.blockCount);
      if (hit) blocks.delete(block);
    }
  }

  /** Commits a random batch; retries while the store does not answer. */
  async commitRandom(): Promise<void> {
    const { batch, after, endBlock } = this.randomBatch();
    const publish = !chance(this.random, 0.15);
    const grow = chance(this.random, 0.05);
    const end = Math.max(this.sizeBytes, endBlock * this.shape.dataBlockBytes);
    const sizeBytes = grow ? end + this.random.below(3 * this.shape.dataBlockBytes) : undefined;
    const result = await this.writer.commit(batch, { mtimeMs: 1, publish, sizeBytes });
    this.shadow = after;
    this.sizeBytes = sizeBytes ?? end;
    if (!publish) return;
    const isNew = result.segmentId !== 0;
    if (isNew) assertEquals(result.cno, result.segmentId);
    const { sizeBytes: committed } = isNew ? this : this.published.get(result.cno)!;
    this.published.set(result.cno, {
      shadow: after,
      sizeBytes: committed,
      headSizeBytes: this.sizeBytes,
    });
  }

  async discard(): Promise<void> {
    await this.writer.discardStaged();
    const last = this.published.get(this.writer.lastCno)!;
    this.shadow = new Map(last.shadow);
    this.sizeBytes = last.headSizeBytes;
  }

  /** Reads a checkpoint in full, by extents and by ranges, against what it must hold. */
  async check(cno: number): Promise<void> {
    const expected = this.published.get(cno)!;
    const { dataBlockBytes } = this.shape;
    const isHead = cno === this.writer.lastCno;
    const reader = await HyperfileReader.open(this.store, { cno: isHead ? 0 : cno });
    assertEquals(reader.sizeBytes, isHead ? expected.headSizeBytes : expected.sizeBytes);
    const block = new Uint8Array(dataBlockBytes);
    const seen = new Set<number>();
    for await (const extent of reader.extents()) {
      const bytes = new Uint8Array(extent.blockCount * dataBlockBytes);
      await reader.read(extent.startBlock * dataBlockBytes, bytes);
      for (let i = 0; i < extent.blockCount; i++) {
        const index = extent.startBlock + i;
        const words = new Float64Array(bytes.buffer, i * dataBlockBytes, dataBlockBytes / 8);
        const stamp = expected.shadow.get(index);
        assert(words[0] === stamp, `cno ${cno} block ${index} has ${words[0]}, not ${stamp}`);
        seen.add(index);
      }
    }
    assertEquals(seen.size, expected.shadow.size, `blocks of checkpoint ${cno}`);
    for (let i = 0; i < 20; i++) {
      const index = this.random.below(this.shape.blocks);
      await reader.read(index * dataBlockBytes, block);
      const stamp = new Float64Array(block.buffer)[0];
      assert(stamp === (expected.shadow.get(index) ?? 0), `cno ${cno} block ${index}: ${stamp}`);
    }
  }
}

/** Random shapes of files. */
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

/** A file of a random shape: new (in `own`, when given), or a tree that another writer might have made. */
export async function randomFile(
  random: Prng,
  options: { own?: ObjectStore; batchMax?: number } = {},
): Promise<ModelledFile> {
  const base = random.pick(SHAPES);
  // A cache that holds nothing, a handful of nodes, or everything.
  const nodeCacheBytes = random.pick([0, 20 * 4096, 1 << 30]);
  const writer = { ...base.writer, nodeCacheBytes };
  const batchMax = Math.min(base.batchMax, options.batchMax ?? Infinity);
  if (options.own !== undefined || random.oneIn(2)) {
    const store = options.own ?? new TracedStore();
    const file = new ModelledFile(store, { ...base, batchMax, writer }, random);
    await file.create();
    return file;
  }
  const blocks = new Map<number, Uint8Array | null>();
  const shadow: Shadow = new Map();
  const limit = Math.min(base.blocks, 4000);
  for (let i = 1 + random.below(200); i > 0; i--) {
    const key = random.below(limit);
    const stamp = random.oneIn(10) ? 0 : i;
    blocks.set(key, stamp === 0 ? null : stamped(stamp, base.dataBlockBytes));
    if (stamp === 0) shadow.delete(key);
    else shadow.set(key, stamp);
  }
  const sizeBytes = limit * base.dataBlockBytes;
  const segments = 1 + random.below(5);
  const { store } = buildTreeImage({
    blocks,
    fanOut: 2 + random.below(4),
    pointerFormat: random.pick([1, 2]),
    segments,
    sizeBytes,
    blockBytes: base.dataBlockBytes,
    nodeBytes: base.metaBlockBytes,
    garbage: random.oneIn(2),
    random,
  });
  const file = new ModelledFile(store, { ...base, batchMax, writer }, random);
  await file.adopt({ cno: segments, shadow, sizeBytes });
  return file;
}

/** Runs a random history of `steps` steps; checks checkpoints on the way and the last one. */
export async function runHistory(file: ModelledFile, steps: number): Promise<void> {
  const { random } = file;
  for (let step = 0; step < steps; step++) {
    const kind = random.below(20);
    if (kind === 0) await file.reopen();
    else if (kind === 1 && file.writer.hasStaged) await file.discard();
    else await file.commitRandom();
    // Number 0 means the head, so the empty checkpoint can be opened only while it is the newest.
    const cnos = [...file.published.keys()].filter((cno) => cno > 0);
    if (cnos.length > 0 && chance(random, 0.1)) await file.check(random.pick(cnos));
  }
  await file.check(file.writer.lastCno);
}
