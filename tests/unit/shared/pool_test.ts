import { assert, assertEquals } from "../../support/assert.ts";
import { atEveryOperation } from "../../support/preemption.ts";
import { allocateShared, sharedLayout, sharedViews, WORD } from "../../../src/shared/layout.ts";
import { ENTRY_DATA, ENTRY_EMPTY, ENTRY_ZERO, Pool } from "../../../src/shared/pool.ts";

const UNIT = 4096;

function smallPool() {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: UNIT,
    unitBytes: UNIT,
    poolBytes: 8 * UNIT,
    regionBytes: UNIT,
    deviceSizeBytes: UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  return { views, layout, pool: new Pool(views) };
}

Deno.test("Pool.reserve() gives all of the capacity and not a unit more", () => {
  const { pool } = smallPool();
  assert(pool.reserve(5));
  assertEquals(pool.reservedAt, 0);
  assert(!pool.reserve(4));
  assert(pool.reserve(3));
  assertEquals(pool.reservedAt, 5);
  assert(!pool.reserve(1));
  assertEquals(pool.usedUnits(), 8);
  pool.release(pool.advance(0, 5));
  assert(pool.reserve(5));
  assertEquals(pool.reservedAt, 8);
});

Deno.test("Pool.reserve() is not refused for a head that others have moved on from, at whatever moment", async () => {
  const operations = await atEveryOperation(() => ({ pool: smallPool().pool, isGiven: false }), {
    body(world) {
      world.isGiven = world.pool.reserve(1);
    },
    meanwhile({ pool }) {
      for (let n = 0; n < 3; n++) {
        assert(pool.reserve(4));
        pool.release(pool.head());
      }
    },
    check: ({ isGiven }, operation) => assert(isGiven, `preempted before operation ${operation}`),
  });
  assert(operations > 2);
});

Deno.test("Pool hands an entry over with its blocks, across the end of the ring", () => {
  const { pool, views, layout } = smallPool();
  assert(pool.reserve(6));
  pool.release(6);
  assert(pool.reserve(4));
  const position = pool.reservedAt;
  const buffer = views.memory.subarray(layout.tagBuffersOffset);
  for (let unit = 0; unit < 4; unit++) buffer.fill(unit + 1, unit * UNIT, (unit + 1) * UNIT);
  pool.fill(position, layout.tagBuffersOffset, 4 * UNIT);
  assertEquals(pool.stateAt(position), ENTRY_EMPTY);
  const block = 2 ** 33 + 17;
  pool.publish(position, ENTRY_DATA, block, 4);
  assertEquals(pool.stateAt(position), ENTRY_DATA);
  assertEquals([pool.startBlockAt(position), pool.blockCountAt(position)], [block, 4]);
  for (let unit = 0; unit < 4; unit++) {
    const at = pool.unitOffset(pool.advance(position, unit));
    const bytes = views.memory.subarray(at, at + UNIT);
    assert(bytes.every((byte) => byte === unit + 1), `unit ${unit}`);
  }
  pool.clear(position);
  assertEquals(pool.stateAt(position), ENTRY_EMPTY);
});

Deno.test("Pool positions go on past the end of their range", () => {
  const { pool, views } = smallPool();
  const range = 8 * Math.floor((2 ** 31 - 1) / 8);
  const start = range - 3;
  views.words[WORD.poolHead] = start;
  views.words[WORD.poolTail] = start;
  assert(pool.reserve(8));
  assertEquals(pool.reservedAt, start);
  assertEquals(pool.head(), 5);
  assertEquals(pool.usedUnits(), 8);
  assert(!pool.reserve(1));
  pool.publish(start, ENTRY_ZERO, 3, 1_000_000);
  assertEquals(pool.blockCountAt(start), 1_000_000);
  pool.release(pool.advance(start, 8));
  assertEquals(pool.usedUnits(), 0);
});
