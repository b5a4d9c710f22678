// Starts on stores without working conditional writes: refused before anything changes, unless the
// operator accepts that two writers are not kept apart.

import { ReplicaError, usageError } from "../../../src/base/errors.ts";
import type { PutResult, StorePutOptions } from "../../../src/replica/object_store.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { type Carelessness, CarelessStore } from "../../support/careless_store.ts";
import { FailingStore } from "../../support/failing_store.ts";
import { readImage } from "../../support/image.ts";
import { MemoryRoom } from "../../support/memory_room.ts";
import { MemoryStore } from "../../support/memory_store.ts";

/** A server that does not know conditions, and says so. */
class UnknowingStore extends MemoryStore {
  override put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    if (options.condition === undefined) return super.put(key, chunks, options);
    const context = { status: 501, effect: "none", operator: true } as const;
    return Promise.reject(usageError(`Cannot write ${key}: not implemented`, { context }));
  }
}

type Objects = MemoryStore["objects"];

/** Stores by what their error says. */
const STORES: readonly (readonly [message: string, open: (objects: Objects) => MemoryStore])[] = [
  ...([
    ["the store ignores If-None-Match", { ignored: ["absent"] }],
    ["the store ignores If-Match", { ignored: ["etag"] }],
    ["the store ignores If-None-Match", { ignored: ["absent", "etag"] }],
    [
      "the store ignores If-None-Match on CompleteMultipartUpload",
      { ignored: ["absent"], inPartsOnly: true },
    ],
    ["the store ignores If-Match on CompleteMultipartUpload", {
      ignored: ["etag"],
      inPartsOnly: true,
    }],
  ] satisfies [string, Carelessness][]).map(([message, how]) =>
    [message, (objects: Objects) => new CarelessStore(how, objects)] as const
  ),
  ["not implemented", (objects) => new UnknowingStore({ objects })],
];

/** A primary whose replica was made while its store was well: conditions are lost by what is in between. */
async function formatted() {
  const { objects } = new MemoryStore();
  const primary = await MemoryRoom.format(() => new MemoryStore({ objects }));
  return { objects, primary };
}

function contents(objects: Objects): [string, Uint8Array][] {
  return [...objects].map(([key, { bytes }]) => [key, bytes]);
}

/** Why a start is refused. */
async function refusalOf(room: MemoryRoom): Promise<ReplicaError> {
  try {
    await room.open();
  } catch (error) {
    if (error instanceof ReplicaError) return error;
    throw error;
  }
  throw new Error("the start was not refused");
}

Deno.test("a room refuses a store without working conditions, and has changed nothing", async () => {
  for (const [message, open] of STORES) {
    const { objects, primary } = await formatted();
    const before = [contents(objects), primary.bytes.slice()];
    const error = await refusalOf(await MemoryRoom.on(primary, () => open(objects)));
    assertEquals([error.kind, error.message.includes(message)], ["usage", true], error.message);
    assertEquals([contents(objects), primary.bytes], before, message);
  }
});

Deno.test("the refusal says what may happen, and which option accepts it", async () => {
  const { objects, primary } = await formatted();
  const open = () => new CarelessStore({ ignored: ["etag"] }, objects);
  const room = await MemoryRoom.on(primary, open);
  const { message, hint } = await refusalOf(room);
  assertEquals(message, "Cannot keep a replica in memory:///replica: the store ignores If-Match");
  assert(hint?.includes("overwrite each other") && hint.includes("--accept-unsafe-store"), hint);
});

Deno.test("a room that was told to accept such a store replicates there, and warns", async () => {
  for (const [message, open] of STORES) {
    const { objects, primary } = await formatted();
    const room = await MemoryRoom.on(primary, () => open(objects), { acceptUnsafeStore: true });
    const { mode, warnings } = await room.open();
    assertEquals([mode, warnings.length], ["forward-full", 1]);
    assert(warnings[0].startsWith("Two writers are not kept apart: Cannot "), warnings[0]);
    assert(warnings[0].includes(message), warnings[0]);
    assertEquals(await room.copyAndStop(), true, message);
    assertEquals(await readImage(new MemoryStore({ objects })), primary.device, message);
    assertEquals([...objects.keys()].filter((key) => key.startsWith("probe")), []);
  }
});

Deno.test("in an accepted store a second room still sees who holds the replica", async () => {
  const { objects, primary } = await formatted();
  const open = () => new CarelessStore({ ignored: ["absent", "etag"] }, objects);
  const copy = primary.copy();
  const first = await MemoryRoom.on(primary, open, { acceptUnsafeStore: true });
  await first.open();
  const second = await MemoryRoom.on(copy, open, { acceptUnsafeStore: true });
  const { kind, message } = await refusalOf(second);
  assertEquals([kind, message.includes("another writer holds it")], ["fenced", true], message);
  assertEquals(await first.copyAndStop(), true);
});

Deno.test("where conditions work there is nothing to accept", async () => {
  const { objects, primary } = await formatted();
  const open = () => new MemoryStore({ objects });
  const room = await MemoryRoom.on(primary, open, { acceptUnsafeStore: true });
  assertEquals((await room.open()).warnings, []);
  assertEquals(await room.copyAndStop(), true);
});

Deno.test("what else keeps a room from writing is not accepted with it", async () => {
  const { objects, primary } = await formatted();
  const open = () =>
    new FailingStore(new MemoryStore({ objects }), {
      plan: ({ verb }) => verb === "put" ? "forbidden" : null,
    });
  const room = await MemoryRoom.on(primary, open, { acceptUnsafeStore: true });
  const { kind, message } = await refusalOf(room);
  assertEquals([kind, message.includes("forbidden")], ["unavailable", true], message);
});
