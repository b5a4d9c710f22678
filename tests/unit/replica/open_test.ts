import { ReplicaError } from "../../../src/base/errors.ts";
import { openObjectStore } from "../../../src/replica/open.ts";
import { parseReplicaUri } from "../../../src/replica/replica_uri.ts";
import { ONE_SHOT_RETRY } from "../../../src/replica/retry_store.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";

function location(uri: string) {
  return parseReplicaUri(uri, "--replica");
}

Deno.test("openObjectStore() opens a directory, new only where asked to", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hir-open-" });
  const root = location(`file://${folder}/a/b`);
  for (const access of ["read", "write"] as const) {
    const open = () => openObjectStore(root, { access, retry: ONE_SHOT_RETRY });
    await assertRejects(open, ReplicaError, "there is no such directory");
  }
  const store = await openObjectStore(root, { access: "create", retry: ONE_SHOT_RETRY });
  assertEquals(store.uri, root.uri);
  assertEquals((await store.put("inode", [new Uint8Array(3)])).stored, true);
  await store.close();
  const reader = await openObjectStore(root, { access: "read", retry: ONE_SHOT_RETRY });
  assertEquals((await reader.head("inode"))?.size, 3);
  await assertRejects(() => reader.delete("inode"), ReplicaError, "opened for reading");
  await reader.close();
  await Deno.remove(folder, { recursive: true });
});

Deno.test("openObjectStore() makes an S3 store without speaking to the server", async () => {
  const store = await openObjectStore(location("s3://bucket/some/key"), {
    access: "write",
    retry: ONE_SHOT_RETRY,
    s3: { endpoint: "http://127.0.0.1:1", region: "us-east-1" },
  });
  assertEquals(store.uri, "s3://bucket/some/key");
  await store.close();
});

Deno.test("openObjectStore() refuses an image file", async () => {
  const open = () =>
    openObjectStore(location("/tmp/disk.img"), { access: "write", retry: ONE_SHOT_RETRY });
  await assertRejects(open, ReplicaError, "holds no objects");
});
