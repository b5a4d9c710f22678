// Random writes and zeroings, coalesced, against a plain model that applies them one by one.

import { assert, assertEquals } from "../support/assert.ts";
import { Coalescer } from "../../src/replication/coalesce.ts";
import { Prng, seedOf } from "../support/prng.ts";

function runWorld(random: Prng): void {
  const blocks = 1 + random.below(60);
  const coalescer = new Coalescer(256);
  const model = new Map<number, number | "zero">();
  const count = random.below(120);
  for (let position = 0; position < count; position++) {
    if (random.below(5) === 0) {
      const start = random.below(blocks);
      const length = 1 + random.below(blocks - start);
      coalescer.addZeroing(start, length);
      for (let block = start; block < start + length; block++) model.set(block, "zero");
    } else {
      const block = random.below(blocks);
      coalescer.addData(block, position);
      model.set(block, position);
    }
  }
  assertEquals(coalescer.empty, count === 0);
  const result = coalescer.take();
  assert(coalescer.empty);

  const seen = new Map<number, number | "zero">();
  result.blocks.forEach((block, i) => seen.set(block, result.positions[i]));
  assertEquals(seen.size, result.blocks.length);
  let end = -1;
  for (const { startBlock, blockCount } of result.zeroRanges) {
    assert(startBlock >= end && blockCount > 0, "zero ranges are ascending and disjoint");
    end = startBlock + blockCount;
    for (let block = startBlock; block < end; block++) {
      assert(!seen.has(block), "zero ranges are apart from the data");
      seen.set(block, "zero");
    }
  }
  assertEquals(result.blocks, result.blocks.toSorted((a, b) => a - b));
  assertEquals(seen, model);
}

Deno.test("Coalescer keeps the last effect on every block", () => {
  const seed = seedOf("coalesce");
  for (let world = 0; world < 5000; world++) runWorld(new Prng(seed + world));
});

Deno.test("Coalescer holds exactly its capacity", () => {
  const coalescer = new Coalescer(4);
  assert(coalescer.fits(4) && !coalescer.fits(5));
  coalescer.addZeroing(0, 1000);
  assert(coalescer.fits(3) && !coalescer.fits(4));
});

Deno.test("Coalescer keeps block indexes near its limit exact", () => {
  const coalescer = new Coalescer(4);
  const last = 2 ** 36 - 1;
  coalescer.addData(last, 7);
  coalescer.addData(last - 1, 8);
  coalescer.addData(last, 9);
  const { blocks, positions } = coalescer.take();
  assertEquals([blocks, positions], [[last - 1, last], [8, 9]]);
});
