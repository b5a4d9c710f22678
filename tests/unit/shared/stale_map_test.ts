import { assert, assertEquals } from "../../support/assert.ts";
import { History } from "../../../src/shared/history.ts";
import { allocateShared, sharedLayout, sharedViews, WORD } from "../../../src/shared/layout.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { Prng } from "../../support/prng.ts";

const UNIT = 4096;

function newViews(deviceBlocks: number, poolUnits = 64) {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 2 * UNIT,
    unitBytes: UNIT,
    poolBytes: poolUnits * UNIT,
    regionBytes: 16 * UNIT,
    deviceSizeBytes: deviceBlocks * UNIT,
    chunkBlocksMin: 16,
  });
  return sharedViews(allocateShared(layout), layout);
}

Deno.test("StaleMap agrees with a set of chunks", () => {
  const views = newViews(16 * 100 + 3);
  const map = new StaleMap(views);
  assertEquals([map.chunkBlocks, map.chunkCount], [16, 101]);
  const model = new Set<number>();
  const random = new Prng(7);
  for (let round = 0; round < 2000; round++) {
    const start = random.below(16 * 100 + 3);
    const count = 1 + random.below(Math.min(700, 16 * 100 + 3 - start));
    const chunks: number[] = [];
    for (let k = Math.floor(start / 16); k <= Math.floor((start + count - 1) / 16); k++) {
      chunks.push(k);
    }
    assertEquals(map.overlaps(start, count), chunks.some((chunk) => model.has(chunk)));
    if (random.oneIn(3)) {
      map.mark(start, count);
      chunks.forEach((chunk) => model.add(chunk));
    } else {
      const next = map.next(chunks[0]);
      const expected = [...model].filter((chunk) => chunk >= chunks[0]).sort((a, b) => a - b)[0];
      assertEquals(next, expected ?? -1);
      if (next >= 0) {
        const length = map.runLength(next, 40);
        for (let k = 0; k < length; k++) assert(model.delete(next + k));
        assert(length === 40 || !model.has(next + length));
        map.take(next, length);
        map.settle(length);
      }
    }
    assertEquals(map.count(), model.size);
  }
});

Deno.test("StaleMap ends with the device", () => {
  const map = new StaleMap(newViews(35));
  map.mark(0, 35);
  assertEquals([map.count(), map.chunkCount], [3, 3]);
  assertEquals([map.firstBlock(2), map.blocksOf(2, 1), map.blocksOf(1, 2)], [32, 3, 19]);
  assertEquals([map.next(2), map.next(3), map.runLength(0, 9)], [2, -1, 3]);
});

Deno.test("StaleMap makes chunks that fit beside others in a small pool", () => {
  assertEquals(new StaleMap(newViews(35, 12)).chunkBlocks, 3);
});

Deno.test("History ends once, at the head, until it is made whole", () => {
  const views = newViews(16);
  const history = new History(views);
  assert(history.isWhole());
  Atomics.store(views.words, WORD.poolHead, 5);
  history.endAtHead();
  Atomics.store(views.words, WORD.poolHead, 9);
  history.endAtHead();
  assertEquals([history.isWhole(), history.end()], [false, 5]);
  history.makeWhole();
  assertEquals(history.end(), -1);
  history.endAt(0);
  assertEquals([history.isWhole(), history.end()], [false, 0]);
});

Deno.test("a stale chunk that can be seen is counted, also between the steps of a mark", () => {
  const views = newViews(16 * 8);
  const [one, two] = [new StaleMap(views), new StaleMap(views)];
  const seen: number[] = [];
  const or = Atomics.or;
  const patched = Atomics as { or: unknown };
  patched.or = (words: Int32Array, index: number, value: number) => {
    const before = or(words, index, value);
    patched.or = or;
    // Another queue, another block of the same chunk: it finds the chunk stale and may acknowledge.
    two.mark(5, 1);
    seen.push(two.count());
    return before;
  };
  try {
    one.mark(0, 1);
  } finally {
    patched.or = or;
  }
  assertEquals([seen, one.count()], [[1], 1]);
});
