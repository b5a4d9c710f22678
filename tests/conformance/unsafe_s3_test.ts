// A start on an S3 server that ignores conditions, as older ones do; tests/unit/replicator has every
// kind of such stores in memory.

import { ReplicaError } from "../../src/base/errors.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { assert, assertEquals, assertRejects } from "../support/assert.ts";
import { readImage } from "../support/image.ts";
import { MemoryRoom } from "../support/memory_room.ts";
import { startS3Server } from "../support/s3_server.ts";

const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());

async function keysOf(store: S3Store): Promise<string[]> {
  return await Array.fromAsync(store.list(), ({ key }) => key);
}

Deno.test("a room refuses an S3 server that ignores conditions, and accepts it when told to", async () => {
  const root = await server.createUnconditionalRoot();
  const open = () => new S3Store(root);
  const store = open();
  const primary = await MemoryRoom.format(open);
  const before = await keysOf(store);
  const refused = await MemoryRoom.on(primary, open);
  await assertRejects(() => refused.open(), ReplicaError, "the store ignores If-None-Match");
  assertEquals(await keysOf(store), before, "no probe stays");

  const accepted = await MemoryRoom.on(primary, open, { acceptUnsafeStore: true });
  const { warnings } = await accepted.open();
  assert(warnings[0]?.startsWith("Two writers are not kept apart"), String(warnings));
  assertEquals(await accepted.copyAndStop(), true);
  assertEquals(await readImage(store), primary.device);
  await store.close();
});
