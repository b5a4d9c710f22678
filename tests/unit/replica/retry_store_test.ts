// What is tried again, how often, and after which waits.

import { ReplicaError } from "../../../src/base/errors.ts";
import {
  DAEMON_RETRY,
  ONE_SHOT_RETRY,
  type RetryEvent,
  type RetryPolicy,
  RetryStore,
  START_RETRY,
} from "../../../src/replica/retry_store.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import {
  FailingStore,
  randomPlan,
  type StoreFault,
  type StorePlan,
} from "../../support/failing_store.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { MemoryStore } from "../../support/memory_store.ts";
import { Prng, seedOf } from "../../support/prng.ts";

const BODY = [new Uint8Array([1, 2, 3])];
const ABSENT = { condition: { absent: true } } as const;

function setUp(plan: StorePlan, policy: RetryPolicy = DAEMON_RETRY) {
  const memory = new MemoryStore();
  const failing = new FailingStore(memory, { plan });
  const clock = new FakeClock();
  const events: RetryEvent[] = [];
  const store = new RetryStore(failing, {
    policy,
    clock,
    random: () => 0.999,
    onEvent: (event) => events.push(event),
  });
  return { memory, failing, clock, events, store };
}

function first(count: number, fault: StoreFault): StorePlan {
  return ({ number }) => number <= count ? fault : null;
}

Deno.test("RetryStore repeats reads, lists, deletes and plain puts until they go well", async () => {
  for (const fault of ["refused", "lost-before", "lost-after"] as const) {
    const { store, failing, events } = setUp(first(3, fault));
    assert((await store.put("inode", BODY)).stored);
    assertEquals(failing.calls.length, 4);
    assertEquals(events.map(({ type, attempts }) => [type, attempts]), [
      ["retry", 1],
      ["retry", 2],
      ["retry", 3],
      ["recovered", 4],
    ]);
    failing.plan = ({ number }) => number % 3 === 0 ? null : fault;
    assertEquals((await store.head("inode"))?.size, 3);
    assertEquals((await store.get("inode"))?.bytes, BODY[0]);
    await store.delete("inode");
    assertEquals(await store.get("inode"), null);
  }
});

Deno.test("RetryStore sends a conditional put again only if it had no effect", async () => {
  const refused = setUp(first(5, "refused"));
  assert((await refused.store.put("inode", BODY, ABSENT)).stored);
  assertEquals(refused.failing.calls.length, 6);
  for (const fault of ["lost-before", "lost-after"] as const) {
    const { store, failing, memory } = setUp(first(1, fault));
    await assertRejects(() => store.put("inode", BODY, ABSENT), ReplicaError, fault);
    assertEquals(failing.calls.length, 1);
    assertEquals(memory.objects.has("inode"), fault === "lost-after");
  }
});

Deno.test("RetryStore goes on with a list after the last key it gave", async () => {
  const { store, failing, memory } = setUp(() => null);
  const keys = Array.from({ length: 50 }, (_, i) => String(i).padStart(4, "0"));
  for (const key of keys) await memory.put(key, BODY);
  failing.plan = ({ number }) => number % 3 === 1 ? "lost-before" : null;
  const got = (await Array.fromAsync(store.list())).map(({ key }) => key);
  assertEquals(got, keys);
  const rest = (await Array.fromAsync(store.list({ startAfter: "0039" }))).map(({ key }) => key);
  assertEquals(rest, keys.slice(40));
});

Deno.test("RetryStore waits longer with every try, up to a cap", async () => {
  const { store, clock } = setUp(first(12, "refused"));
  await store.delete("inode");
  const rounded = clock.sleeps.map((ms) => Math.round(ms / 100) * 100);
  assertEquals(rounded.slice(0, 4), [200, 400, 800, 1600]);
  assertEquals(rounded.at(-1), DAEMON_RETRY.backoff.capMs);
  assertEquals(rounded, rounded.toSorted((a, b) => a - b));
});

Deno.test("RetryStore gives up when its time is over", async () => {
  const { store, clock, events } = setUp(() => "refused", ONE_SHOT_RETRY);
  await assertRejects(() => store.head("inode"), ReplicaError, "refused");
  assert(clock.nowMs() <= ONE_SHOT_RETRY.maxElapsedMs, `gave up after ${clock.nowMs()} ms`);
  assert(clock.nowMs() >= ONE_SHOT_RETRY.maxElapsedMs / 2, `gave up after ${clock.nowMs()} ms`);
  assert(events.length > 5, `${events.length} tries`);
});

Deno.test("RetryStore leaves permissions to the operator: a command stops, the daemon waits", async () => {
  const command = setUp(() => "forbidden", ONE_SHOT_RETRY);
  await assertRejects(() => command.store.head("inode"), ReplicaError, "forbidden");
  assertEquals(command.failing.calls.length, 1);
  const daemon = setUp(first(100, "forbidden"));
  assertEquals(await daemon.store.head("inode"), null);
  assertEquals(daemon.failing.calls.length, 100 + DAEMON_RETRY.absentAnswers);
});

Deno.test("RetryStore asks again before a daemon believes that an object is gone", async () => {
  const command = setUp(() => null, ONE_SHOT_RETRY);
  assertEquals(await command.store.get("inode"), null);
  assertEquals(command.failing.calls.length, 1);
  const daemon = setUp(() => null);
  assertEquals(await daemon.store.get("inode"), null);
  assertEquals(daemon.failing.calls.length, DAEMON_RETRY.absentAnswers);
});

// A redirection (307) or a 501 of a gateway in passing ended the replication of a running device for good.
Deno.test("RetryStore waits until a store that a daemon was attached to is the right one again", async () => {
  const command = setUp(() => "not-implemented", ONE_SHOT_RETRY);
  await assertRejects(() => command.store.put("1", BODY, ABSENT), ReplicaError, "implemented");
  assertEquals(command.failing.calls.length, 1);
  const daemon = setUp(first(100, "not-implemented"));
  assert((await daemon.store.put("1", BODY, ABSENT)).stored);
});

Deno.test("RetryStore lets a daemon start although the store refuses or forgets in passing", async () => {
  for (const fault of ["forbidden", "not-implemented"] as const) {
    const passing = setUp(first(2, fault), START_RETRY);
    assert((await passing.store.put("inode", BODY)).stored);
    const lasting = setUp(() => fault, START_RETRY);
    await assertRejects(() => lasting.store.get("inode"), ReplicaError, fault);
    assert(lasting.clock.nowMs() < 1000, `it is told after ${lasting.clock.nowMs()} ms`);
  }
  const absent = setUp(() => null, START_RETRY);
  assertEquals(await absent.store.get("inode"), null);
  assertEquals(absent.failing.calls.length, START_RETRY.absentAnswers);
});

Deno.test("RetryStore does not repeat what can't get better", async () => {
  const { store, failing } = setUp(() => "garbage");
  await assertRejects(() => store.get("inode"), ReplicaError, "garbage");
  assertEquals(failing.calls.length, 1);
  await assertRejects(() => store.head("../x"), ReplicaError);
});

Deno.test("RetryStore ends its waiting with the signal and with close()", async () => {
  const { store } = setUp(() => "refused");
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 5);
  const aborted = await store.head("inode", abort).catch((error) => error);
  assertEquals(aborted.kind, "closed");
  setTimeout(() => store.close(), 5);
  const closed = await store.get("inode").catch((error) => error);
  assertEquals(closed.kind, "closed");
});

Deno.test("RetryStore over a store that fails at random loses and invents nothing", async () => {
  const seed = seedOf("retry_store");
  const prng = new Prng(seed);
  const { store, failing, memory } = setUp(() => null);
  failing.plan = randomPlan(prng, { oneIn: 3 });
  const expected = new Map<string, number>();
  for (let round = 0; round < 300; round++) {
    const key = String(prng.below(20));
    if (prng.oneIn(4)) {
      await store.delete(key);
      expected.delete(key);
    } else {
      await store.put(key, [new Uint8Array([round & 255])]);
      expected.set(key, round & 255);
    }
    const check = String(prng.below(20));
    assertEquals((await store.get(check))?.bytes[0], expected.get(check), `seed ${seed}`);
  }
  assertEquals([...memory.objects.keys()].sort(), [...expected.keys()].sort());
});
