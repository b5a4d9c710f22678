import { assert, assertEquals, assertThrows } from "../../support/assert.ts";
import {
  allocateShared,
  LOCK_WORDS,
  sharedLayout,
  sharedViews,
} from "../../../src/shared/layout.ts";
import { IntervalLock, LOCK_SPAN_BLOCKS } from "../../../src/shared/interval_lock.ts";
import { Prng, seedOf } from "../../support/prng.ts";

function newLock() {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 4096,
    unitBytes: 4096,
    poolBytes: 65536,
    regionBytes: 4096,
    deviceSizeBytes: 4096,
  });
  const views = sharedViews(allocateShared(layout), layout);
  return { lock: new IntervalLock(views), views };
}

Deno.test("IntervalLock.tryLock() refuses exactly what overlaps", () => {
  const { lock } = newLock();
  assert(lock.tryLock(30, 40));
  for (const [start, count] of [[30, 1], [69, 1], [0, 31], [69, 100], [40, 2], [0, 200]]) {
    assert(!lock.tryLock(start, count), `${start}+${count}`);
  }
  assert(lock.tryLock(29, 1));
  assert(lock.tryLock(70, 1));
  lock.unlock(30, 40);
  assert(lock.tryLock(30, 40));
});

Deno.test("IntervalLock.tryLock() leaves nothing behind when it fails half way", () => {
  const { lock, views } = newLock();
  assert(lock.tryLock(100, 1));
  const before = views.locks.slice();
  assert(!lock.tryLock(0, 200));
  assertEquals(views.locks.slice(), before);
});

Deno.test("IntervalLock lets distant blocks share a bit, and waits for them", () => {
  const { lock } = newLock();
  assert(lock.tryLock(5, 1));
  assert(!lock.tryLock(5 + LOCK_WORDS * 32, 1));
});

Deno.test("IntervalLock refuses to cover its table twice, and to unlock what is free", () => {
  const { lock } = newLock();
  assertThrows(() => lock.tryLock(0, LOCK_SPAN_BLOCKS + 1), Error, "covers its table");
  assertThrows(() => lock.unlock(0, 1), Error, "only locked blocks");
});

Deno.test("IntervalLock agrees with a set of blocks", () => {
  const random = new Prng(seedOf("interval_lock"));
  const { lock } = newLock();
  const held: { start: number; count: number }[] = [];
  const taken = new Set<number>();
  for (let step = 0; step < 20_000; step++) {
    if (held.length > 0 && random.oneIn(2)) {
      const [{ start, count }] = held.splice(random.below(held.length), 1);
      lock.unlock(start, count);
      for (let block = start; block < start + count; block++) taken.delete(block);
      continue;
    }
    const start = random.below(2000);
    const count = 1 + random.below(130);
    const blocks = Array.from({ length: count }, (_, i) => start + i);
    const free = !blocks.some((block) => taken.has(block));
    assertEquals(lock.tryLock(start, count), free);
    if (free) {
      held.push({ start, count });
      for (const block of blocks) taken.add(block);
    }
  }
});
