import { ByteLru } from "../../../src/replica/node_cache.ts";
import { Limiter } from "../../../src/replica/limiter.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";

Deno.test("ByteLru drops the least recently used beyond its bound", () => {
  const cache = new ByteLru<Uint8Array>(300);
  for (const id of [1, 2, 3]) cache.set(id, new Uint8Array(100));
  assertEquals([cache.size, cache.bytes], [3, 300]);
  assert(cache.get(1) !== undefined, "1 is there");
  cache.set(4, new Uint8Array(150));
  assertEquals([2, 3, 1, 4].map((id) => cache.peek(id)?.length), [undefined, undefined, 100, 150]);
  assertEquals(cache.bytes, 250);
});

Deno.test("ByteLru.peek() does not count as use", () => {
  const cache = new ByteLru<Uint8Array>(200);
  cache.set(1, new Uint8Array(100));
  cache.set(2, new Uint8Array(100));
  cache.peek(1);
  cache.set(3, new Uint8Array(100));
  assertEquals(cache.peek(1), undefined);
});

Deno.test("ByteLru replaces, deletes, clears, and never keeps what is above its bound", () => {
  const cache = new ByteLru<Uint8Array>(200);
  cache.set(1, new Uint8Array(100));
  cache.set(1, new Uint8Array(50));
  assertEquals([cache.size, cache.bytes], [1, 50]);
  cache.set(2, new Uint8Array(201));
  assertEquals([cache.peek(2), cache.bytes], [undefined, 50]);
  cache.set(1, new Uint8Array(201));
  assertEquals([cache.peek(1), cache.bytes], [undefined, 0]);
  cache.set(3, new Uint8Array(10));
  cache.delete(3);
  cache.delete(3);
  assertEquals(cache.bytes, 0);
  cache.set(4, new Uint8Array(10));
  cache.clear();
  assertEquals([cache.size, cache.bytes], [0, 0]);
});

Deno.test("Limiter.runAll() runs no more than its bound, and everything", async () => {
  const limiter = new Limiter(4);
  let running = 0;
  let most = 0;
  const done: number[] = [];
  const task = async (item: number) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, item % 3));
    running--;
    done.push(item);
  };
  const items = Array.from({ length: 50 }, (_, i) => i);
  await Promise.all([limiter.runAll(items, task), limiter.runAll([50, 51], task)]);
  assertEquals(most, 4);
  assertEquals(done.sort((a, b) => a - b), [...items, 50, 51]);
});

Deno.test("Limiter.runAll() settles only when nothing runs, and starts nothing after a failure", async () => {
  const limiter = new Limiter(3);
  let running = 0;
  let started = 0;
  const task = async (item: number) => {
    started++;
    running++;
    await new Promise((resolve) => setTimeout(resolve, item));
    running--;
    if (item === 1) throw new Error("one failed");
  };
  await assertRejects(() => limiter.runAll([1, 5, 9, 9, 9, 9], task), Error, "one failed");
  assertEquals([running, started], [0, 3]);
});
