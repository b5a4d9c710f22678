// The contract of src/replica/object_store.ts as tests, for every implementation.
// Callers: the *_store_test.ts files of this folder.

import { ReplicaError } from "../../src/base/errors.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { probeConditionalPuts } from "../../src/replica/conditional_puts.ts";
import { compareKeys } from "../../src/replica/object_key.ts";
import type { ObjectStore, PutResult } from "../../src/replica/object_store.ts";
import { assert, assertEquals, assertRejects } from "../support/assert.ts";

export interface StoreUnderTest {
  /** Opens a client of the same root; the first call makes the root. */
  connect(): Promise<ObjectStore>;
  /** Puts an object beside the root under a name that begins like it, where that can be done. */
  putNeighbour?(): Promise<void>;
  dispose(): Promise<void>;
}

type Make = () => Promise<StoreUnderTest>;

interface World {
  readonly store: ObjectStore;
  readonly other: ObjectStore;
  readonly root: StoreUnderTest;
}

const RACERS = 24;
let races = 0;

/** Registers the whole contract for the store that `make` makes a fresh, empty root of. */
export function testObjectStoreContract(name: string, make: Make): void {
  const test = (title: string, body: (world: World) => Promise<void>) => {
    Deno.test(`${name}: ${title}`, async () => {
      const root = await make();
      const store = await root.connect();
      const other = await root.connect();
      try {
        await body({ store, other, root });
      } finally {
        await store.close();
        await other.close();
        await root.dispose();
      }
    });
  };
  test("a missing object is an answer", missingObject);
  test("a put is visible to every client at once", visibility);
  test("conditions hold or refuse", conditions);
  test("one of 24 racing creations wins", racingCreations);
  test("one of 24 racing replacements wins", racingReplacements);
  test("ranges at the edges", ranges);
  test("lists are in order, complete and inside the root", lists);
  test("more than a thousand keys", manyKeys);
  test("bodies of odd sizes", sizes);
  test("bodies of many small and of shared chunks", chunkShapes);
  test("chunks may change once the put has settled", chunksAreNotKept);
  test("an aborted signal ends calls", aborts);
  test("an aborted put leaves the old object or the new one", abortedPut);
  test("a closed store refuses", closing);
  test("bad keys are usage errors", badKeys);
  test("conditional writes are detected", ({ store }) => probeConditionalPuts(store));
}

async function missingObject({ store }: World): Promise<void> {
  assertEquals(await store.head("nothing"), null);
  assertEquals(await store.get("nothing"), null);
  assertEquals(await store.get("nothing", { range: { offset: 5, length: 10 } }), null);
  assertEquals(await store.get("nothing", { range: { offset: 0, length: 0 } }), null);
  assertEquals(await keysOf(store), []);
  await store.delete("nothing");
}

async function visibility({ store, other }: World): Promise<void> {
  const beforeMs = Date.now();
  for (let round = 0; round < 10; round++) {
    const body = pattern(100 + round, round);
    const etag = stored(await store.put("device.json", [body]));
    const head = await other.head("device.json");
    assertEquals(head?.etag, etag);
    assertEquals(head?.size, body.length);
    const got = await other.get("device.json");
    assertEquals(got, { bytes: body, etag, size: body.length });
    const [listed] = await Array.fromAsync(other.list());
    assertEquals([listed.key, listed.etag, listed.size], ["device.json", etag, body.length]);
    // Stores tell time in whole seconds at worst.
    assert(Math.abs(listed.modifiedMs - beforeMs) < 60_000, `modified ${listed.modifiedMs}`);
    assert(Math.abs(head!.nowMs - Date.now()) < 60_000, `now ${head!.nowMs}`);
    assert(head!.nowMs - head!.modifiedMs > -2_000, "no object is younger than now");
  }
  await store.delete("device.json");
  assertEquals(await other.head("device.json"), null);
  assertEquals(await keysOf(other), []);
}

async function conditions({ store, other }: World): Promise<void> {
  const absent = { condition: { absent: true } } as const;
  const first = stored(await store.put("inode", [pattern(160, 1)], absent));
  assertEquals(await other.put("inode", [pattern(160, 2)], absent), { stored: false });
  assertEquals((await other.get("inode"))?.bytes, pattern(160, 1));
  const second = stored(
    await other.put("inode", [pattern(160, 3)], { condition: { etag: first } }),
  );
  assert(first !== second, "another content has another etag");
  assertEquals(
    await store.put("inode", [pattern(160, 4)], { condition: { etag: first } }),
    { stored: false },
  );
  assertEquals((await store.get("inode"))?.bytes, pattern(160, 3));
  const never = { condition: { etag: second } };
  assertEquals(await store.put("missing", [pattern(160, 5)], never), { stored: false });
  assertEquals(await store.head("missing"), null);
  stored(await store.put("inode", [pattern(160, 6)]));
  await store.delete("inode");
  assertEquals(await store.put("inode", [pattern(1, 7)], never), { stored: false });
  stored(await store.put("inode", [pattern(160, 8)], absent));
}

async function racingCreations({ store, other }: World): Promise<void> {
  for (let round = 0; round < 4; round++) {
    const key = String(round).padStart(10, "0");
    await race(key, (racer, body) => {
      const client = racer % 2 === 0 ? store : other;
      return client.put(key, [body], { condition: { absent: true } });
    }, store);
  }
}

async function racingReplacements({ store, other }: World): Promise<void> {
  let etag = stored(await store.put("inode", [pattern(160, 200)]));
  for (let round = 0; round < 4; round++) {
    etag = await race("inode", (racer, body) => {
      const client = racer % 2 === 0 ? store : other;
      return client.put("inode", [body], { condition: { etag } });
    }, store);
  }
}

/** Lets 24 puts race; the one that won is the one that is there. Returns its etag. */
async function race(
  key: string,
  put: (racer: number, body: Uint8Array) => Promise<PutResult>,
  store: ObjectStore,
): Promise<string> {
  // Lengths differ, so that a mixture of two bodies would show; and every race has bodies of its
  // own, since an etag that is made of the content comes back with it.
  const seed = ++races * RACERS;
  const bodies = Array.from({ length: RACERS }, (_, i) => pattern(3000 + 17 * i, seed + i));
  const results = await Promise.all(bodies.map((body, racer) => put(racer, body)));
  const winners = results.flatMap((result, racer) => result.stored ? [racer] : []);
  assertEquals(winners.length, 1, `winners of ${key}: ${winners}`);
  const got = await store.get(key);
  assertEquals(got?.bytes, bodies[winners[0]]);
  const winner = results[winners[0]];
  assertEquals(got?.etag, stored(winner));
  return stored(winner);
}

async function ranges({ store }: World): Promise<void> {
  const body = pattern(10_000, 3);
  const etag = stored(await store.put("0000000001", [body]));
  const cases: [number, number][] = [
    [0, 1],
    [0, 10_000],
    [0, 10_001],
    [1, 9_999],
    [4_096, 4_096],
    [9_999, 1],
    [9_999, 100],
    [9_000, 1_000],
    [10_000, 1],
    [12_345, 100],
    [5, 0],
    [10_000, 0],
  ];
  for (const [offset, length] of cases) {
    const got = await store.get("0000000001", { range: { offset, length } });
    assertEquals(got, { bytes: body.slice(offset, offset + length), etag, size: 10_000 });
  }
  stored(await store.put("empty", []));
  assertEquals((await store.get("empty", { range: { offset: 0, length: 10 } }))?.size, 0);
}

async function lists({ store, root }: World): Promise<void> {
  const keys = [
    "inode",
    "device.json",
    "0000000001",
    "0000000010",
    "0000000002",
    "Z",
    "a b",
    "a+b",
    "a%41b",
    "a-1",
    "a/1",
    "a/b/c",
    "a0",
    "é",
    "日本",
    "\uffee",
    "\u{1f600}",
    "~",
  ];
  await root.putNeighbour?.();
  for (const key of keys) stored(await store.put(key, [pattern(5, 0)]));
  const sorted = keys.toSorted(compareKeys);
  assertEquals(await keysOf(store), sorted);
  for (const startAfter of ["0000000002", "a", "a/1", "é", "\u{1f600}"]) {
    const rest = sorted.filter((key) => compareKeys(key, startAfter) > 0);
    assertEquals(await keysOf(store, startAfter), rest, `after ${startAfter}`);
  }
  for (const key of keys) assertEquals((await store.head(key))?.key, key);
  // A list that is not read to its end holds nothing up.
  for await (const { key } of store.list()) {
    assertEquals(key, sorted[0]);
    break;
  }
}

async function manyKeys({ store }: World): Promise<void> {
  const keys = Array.from({ length: 1_100 }, (_, i) => String(i + 1).padStart(10, "0"));
  const todo = [...keys];
  const worker = async () => {
    for (let key = todo.pop(); key !== undefined; key = todo.pop()) await store.put(key, []);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  assertEquals(await keysOf(store), keys);
  assertEquals(await keysOf(store, "0000000050"), keys.slice(50));
  assertEquals(await keysOf(store, keys.at(-1)), []);
}

async function sizes({ store, other }: World): Promise<void> {
  const all = pattern(40 * MiB, 9);
  for (const size of [0, 1, 4096, 16 * MiB, 16 * MiB + 1, 32 * MiB, 40 * MiB]) {
    const body = all.subarray(0, size);
    const key = `size-${size}`;
    const absent = { condition: { absent: true } } as const;
    const etag = stored(await store.put(key, [body], absent));
    assertEquals(await store.put(key, [body], absent), { stored: false });
    const got = await other.get(key);
    assertEquals([got?.size, got?.etag], [size, etag]);
    assert(equal(got!.bytes, body), `the bytes of ${size}`);
    const offset = Math.max(0, size - 1);
    const tail = await other.get(key, { range: { offset, length: 2 } });
    assertEquals(tail?.bytes, body.slice(offset));
    await store.delete(key);
  }
}

async function chunkShapes({ store }: World): Promise<void> {
  const shared = new Uint8Array(new SharedArrayBuffer(20 * MiB));
  shared.set(pattern(20 * MiB, 4));
  const small: Uint8Array[] = [];
  for (let at = 0; at < shared.length; at += 4 * KiB) small.push(shared.subarray(at, at + 4 * KiB));
  const scattered = small.toReversed();
  const shapes: Record<string, Uint8Array[]> = {
    one: [shared],
    neighbours: small,
    scattered,
    mixed: [shared.subarray(0, 3), new Uint8Array(), shared.subarray(1 * MiB, 9 * MiB), ...small],
    short: [shared.subarray(5, 6), shared.subarray(0, 100)],
  };
  for (const [name, chunks] of Object.entries(shapes)) {
    stored(await store.put(name, chunks));
    const got = await store.get(name);
    assert(equal(got!.bytes, concatenated(chunks)), `chunks ${name}`);
  }
}

async function chunksAreNotKept({ store }: World): Promise<void> {
  const chunk = pattern(300 * KiB, 5);
  const puts = [];
  for (let round = 0; round < 5; round++) {
    const expected = chunk.slice();
    stored(await store.put(`round-${round}`, [chunk]));
    chunk.fill(round);
    puts.push(expected);
  }
  for (const [round, expected] of puts.entries()) {
    assert(equal((await store.get(`round-${round}`))!.bytes, expected), `round ${round}`);
  }
}

async function aborts({ store }: World): Promise<void> {
  stored(await store.put("inode", [pattern(10, 0)]));
  const signal = AbortSignal.abort();
  await rejectsWith("closed", () => store.head("inode", { signal }));
  await rejectsWith("closed", () => store.get("inode", { signal }));
  await rejectsWith("closed", () => store.put("new", [], { signal }));
  await rejectsWith("closed", () => store.delete("inode", { signal }));
  await rejectsWith("closed", () => Array.fromAsync(store.list({ signal })));
  assertEquals(await keysOf(store), ["inode"]);
}

async function abortedPut({ store, other }: World): Promise<void> {
  const old = pattern(1000, 1);
  const fresh = pattern(20 * MiB, 2);
  for (const delayMs of [0, 1, 2, 5, 10, 20, 50, 100]) {
    stored(await store.put("inode", [old]));
    const controller = new AbortController();
    const put = store.put("inode", [fresh], { signal: controller.signal });
    const outcome = put.then(() => "stored", (error) => kindOf(error));
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    controller.abort();
    const word = await outcome;
    assert(word === "stored" || word === "closed", `outcome ${word}`);
    const got = (await other.get("inode"))!.bytes;
    assert(equal(got, fresh) || (word === "closed" && equal(got, old)), `${word}: old or new`);
  }
}

async function closing({ store, other }: World): Promise<void> {
  stored(await store.put("inode", [pattern(10, 0)]));
  await other.close();
  await other.close();
  await rejectsWith("closed", () => other.head("inode"));
  await rejectsWith("closed", () => other.get("inode"));
  await rejectsWith("closed", () => other.put("inode", []));
  await rejectsWith("closed", () => other.delete("inode"));
  await rejectsWith("closed", () => Array.fromAsync(other.list()));
  assertEquals((await store.head("inode"))?.size, 10);
}

async function badKeys({ store }: World): Promise<void> {
  const keys = ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a\0b", "a\nb", "\ud800"];
  for (const key of [...keys, "x".repeat(300), "a/".repeat(600) + "b", ".store/lock"]) {
    await rejectsWith("usage", () => store.head(key));
    await rejectsWith("usage", () => store.get(key));
    await rejectsWith("usage", () => store.put(key, []));
    await rejectsWith("usage", () => store.delete(key));
  }
}

/** Bytes that differ from one seed to another. */
export function pattern(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (state * 1664525 + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Compares long bodies; assertEquals would take seconds. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The etag of a put that must have been stored. */
export function stored(result: PutResult): string {
  assert(result.stored, "the put was refused");
  return result.etag;
}

/** Every key of a store, in the order of its list. */
export async function keysOf(store: ObjectStore, startAfter?: string): Promise<string[]> {
  return (await Array.fromAsync(store.list({ startAfter }))).map(({ key }) => key);
}

/** Asserts that `run` fails with a ReplicaError of `kind`, and gives it. */
export async function rejectsWith(
  kind: string,
  run: () => Promise<unknown>,
): Promise<ReplicaError> {
  let failure: unknown;
  await assertRejects(() => run().catch((error) => Promise.reject(failure = error)), ReplicaError);
  assertEquals((failure as ReplicaError).kind, kind, (failure as ReplicaError).message);
  return failure as ReplicaError;
}

function kindOf(error: unknown): string {
  return error instanceof ReplicaError ? error.kind : String(error);
}

function concatenated(chunks: readonly Uint8Array[]): Uint8Array {
  const parts = chunks.map((chunk) => new Uint8Array(chunk));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
