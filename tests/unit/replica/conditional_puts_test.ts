// Stores that break the promise, and the one that keeps it.

import { ReplicaError, usageError } from "../../../src/base/errors.ts";
import { probeConditionalPuts, probeStore } from "../../../src/replica/conditional_puts.ts";
import type { PutResult, StorePutOptions } from "../../../src/replica/object_store.ts";
import { UnsafeStore } from "../../../src/replica/unsafe_store.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";
import { CarelessStore } from "../../support/careless_store.ts";
import { FailingStore } from "../../support/failing_store.ts";
import { MemoryStore } from "../../support/memory_store.ts";

class RefusingStore extends MemoryStore {
  override put(): Promise<PutResult> {
    return Promise.reject(usageError("Cannot write: the server does not implement it"));
  }
}

Deno.test("probeConditionalPuts() accepts a store that keeps both promises, and tidies up", async () => {
  const store = new MemoryStore();
  await probeConditionalPuts(store);
  assertEquals(store.objects.size, 0);
});

Deno.test("probeConditionalPuts() finds stores that ignore a condition", async () => {
  for (const ignored of [["absent"], ["etag"], ["absent", "etag"]] as const) {
    const store = new CarelessStore({ ignored });
    await assertRejects(() => probeConditionalPuts(store), ReplicaError, "ignores If-");
    assertEquals(store.objects.size, 0, "the probe is removed");
  }
});

Deno.test("probeConditionalPuts() finds stores that ignore a condition in uploads in parts only", async () => {
  for (const [ignored, header] of [["absent", "If-None-Match"], ["etag", "If-Match"]] as const) {
    const store = new CarelessStore({ ignored: [ignored], inPartsOnly: true });
    const message = `ignores ${header} on CompleteMultipartUpload`;
    await assertRejects(() => probeConditionalPuts(store), ReplicaError, message);
    assertEquals((await probeStore(store))?.kind, "usage");
    assertEquals(await probeStore(new UnsafeStore(store)), null);
    assertEquals(store.objects.size, 0, "the probe is removed");
  }
});

Deno.test("probeStore() tells what is missing, and UnsafeStore makes up for it", async () => {
  for (const ignored of [["absent"], ["etag"], ["absent", "etag"]] as const) {
    const store = new CarelessStore({ ignored });
    assertEquals((await probeStore(store))?.kind, "usage");
    assertEquals(await probeStore(new UnsafeStore(store)), null);
  }
  assertEquals(await probeStore(new MemoryStore()), null);
  await assertRejects(() => probeStore(new RefusingStore()), ReplicaError, "implement");
});

Deno.test("probeConditionalPuts() passes a refusal on", async () => {
  await assertRejects(() => probeConditionalPuts(new RefusingStore()), ReplicaError, "implement");
});

Deno.test("probeConditionalPuts() asks again when an answer was lost", async () => {
  for (const fault of ["lost-before", "lost-after"] as const) {
    const memory = new MemoryStore();
    const store = new FailingStore(memory, { plan: ({ number }) => number === 2 ? fault : null });
    await probeConditionalPuts(store);
    assertEquals(memory.objects.size, 0);
    store.plan = ({ verb }) => verb === "put" ? fault : null;
    await assertRejects(() => probeConditionalPuts(store), ReplicaError, fault);
  }
});

/** Refuses every put until so many were made, whatever their conditions. */
class RefusingForNow extends MemoryStore {
  #left: number;

  constructor(puts: number) {
    super();
    this.#left = puts;
  }

  override put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    if (this.#left-- > 0) return Promise.resolve({ stored: false });
    return super.put(key, chunks, options);
  }
}

// A proxy that repeats a put by itself makes the store refuse the second: a start failed for that.
Deno.test("probeConditionalPuts() asks again when a put is refused although its condition holds", async () => {
  const once = new RefusingForNow(1);
  await probeConditionalPuts(once);
  assertEquals(once.objects.size, 0);
  const always = new RefusingForNow(Infinity);
  await assertRejects(() => probeConditionalPuts(always), ReplicaError, "condition holds");
  assertEquals((await probeStore(always))?.kind, "data");
});
