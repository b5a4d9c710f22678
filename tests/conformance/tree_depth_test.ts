// Trees of every depth, in both pointer formats, with nodes of few children, in any order, spread
// over segments, with garbage wherever readers must not look: read, walked, continued by our writer.

import { levelOf, rootWords } from "../../src/format/bmap.ts";
import { equalBytes } from "../../src/replica/commit_protocol.ts";
import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { openWriter } from "../support/sole_writer.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { readImage } from "../support/image.ts";
import { Prng } from "../support/prng.ts";
import { buildTreeImage, type TreeImage } from "../support/tree_image.ts";

const BLOCKS = 400;

function imageOf(keys: number, options: Partial<TreeImage>): TreeImage {
  const random = new Prng(keys);
  const blocks = new Map<number, Uint8Array | null>();
  while (blocks.size < keys) {
    const key = random.below(BLOCKS);
    blocks.set(key, random.oneIn(10) ? null : stamped(key + 1, options.blockBytes ?? 4096));
  }
  const sizeBytes = BLOCKS * (options.blockBytes ?? 4096);
  return { blocks, fanOut: 2, pointerFormat: 2, segments: 3, sizeBytes, random, ...options };
}

function flat(image: TreeImage): Uint8Array {
  const bytes = new Uint8Array(image.sizeBytes);
  for (const [key, block] of image.blocks) {
    if (block) bytes.set(block, key * block.length);
  }
  return bytes;
}

const SHAPES: readonly (readonly [string, number, number, Partial<TreeImage>])[] = [
  ["level 1", 1, 3, {}],
  ["level 2", 2, 6, {}],
  ["level 3", 3, 12, {}],
  ["level 4", 4, 24, {}],
  ["level 5", 5, 40, {}],
  ["level 8", 8, 300, {}],
  ["level 5, one segment", 5, 40, { segments: 1 }],
  ["level 5, 20 segments", 5, 40, { segments: 20 }],
  ["level 5, flat pointers", 5, 40, { pointerFormat: 1 }],
  ["level 5, garbage in unused slots", 5, 40, { garbage: true }],
  ["level 4, flat pointers, garbage", 4, 24, { pointerFormat: 1, garbage: true }],
  ["level 4, data of 64 KiB", 4, 24, { blockBytes: 65536 }],
  ["level 4, nodes of 16 KiB", 4, 24, { nodeBytes: 16384, garbage: true }],
  ["level 3, fan-out 4", 3, 30, { fanOut: 4 }],
];

for (const [name, level, keys, options] of SHAPES) {
  Deno.test(`HyperfileReader reads a tree of ${name}`, async () => {
    const image = imageOf(keys, options);
    const { store, rootLevel } = buildTreeImage(image);
    assertEquals(rootLevel, level);
    for (const nodeCacheBytes of [0, 1 << 20]) {
      assert(equalBytes(await readImage(store, 0, { nodeCacheBytes }), flat(image)), name);
    }
    const reader = await HyperfileReader.open(store, { cno: image.segments });
    const mapped: number[] = [];
    for await (const { startBlock, blockCount } of reader.extents()) {
      for (let i = 0; i < blockCount; i++) mapped.push(startBlock + i);
    }
    const expected = [...image.blocks].filter(([, bytes]) => bytes !== null).map(([key]) => key);
    assertEquals(mapped, expected.sort((a, b) => a - b));
  });

  Deno.test(`HyperfileWriter continues a tree of ${name}`, async () => {
    const image = imageOf(keys, options);
    const { store } = buildTreeImage(image);
    const blockBytes = image.blockBytes ?? 4096;
    const expected = flat(image);
    const random = new Prng(7);
    const writer = await openWriter(store);
    for (let round = 1; round <= 12; round++) {
      const blocks = new Map<number, Uint8Array>();
      for (let i = 0; i < 10; i++) {
        const key = random.below(BLOCKS);
        blocks.set(key, stamped(1000 * round + key, blockBytes));
      }
      const startBlock = random.below(BLOCKS - 60);
      const zeros = { startBlock, blockCount: 1 + random.below(60) };
      for (const key of blocks.keys()) {
        if (key >= startBlock && key < startBlock + zeros.blockCount) blocks.delete(key);
      }
      for (const [key, bytes] of blocks) expected.set(bytes, key * blockBytes);
      expected.fill(0, startBlock * blockBytes, (startBlock + zeros.blockCount) * blockBytes);
      const { cno } = await writer.commit(batchOf(blocks, [zeros]), { mtimeMs: round });
      assertEquals(cno, image.segments + round);
      assert(equalBytes(await readImage(store), expected), `round ${round}`);
    }
    const root = rootWords((await HyperfileReader.open(store)).inode.bmap);
    assertEquals(root[1] & 0xff, image.pointerFormat);
    assert(levelOf(root) <= level + 1, "the tree does not grow for nothing");
    assert(equalBytes(await readImage(store, image.segments), flat(image)), "history stays");
  });
}
