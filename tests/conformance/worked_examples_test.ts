// The worked examples of the format, byte for byte: what our writer stores for known operations is
// known by its hash.

import { createWriter } from "../support/sole_writer.ts";
import { assertEquals } from "../support/assert.ts";
import { batchOf, filled } from "../support/batches.ts";
import { sha256 } from "../support/image.ts";
import { TracedStore } from "../support/traced_store.ts";

const CREATED_MS = 1_700_000_000_000;
const FIRST_MS = 1_700_000_005_250;
const SECOND_MS = 1_700_000_010_500;

const CREATE_INODE = "8d941023dc2ed9fcb99d6926d16658f7da55e2f4d5afda8c59b0b150e42aa3ec";
const FIRST_INODE = "fa543e9806c9d3e0f4f4007ce5ff47a55bfab81a79193f5f503db9822a356e0f";
const FIRST_SEGMENT = "300cb4f9727df751dae11145750990088b967e235234d24029bae189cc11dfa2";
const SECOND_SEGMENT = "015e1198632c012b55815a99b7f70b3ac2ba7785e401fa8bd7a06e8e2d254c0a";
const DIRECT_ROOT = "0001000002000000" + "0040000001000040" + "0080000001000040" +
  "00000000ffffff3f" + "00".repeat(24);

function hashOf(store: TracedStore, key: string): Promise<string> {
  return sha256(store.bytesOf(key).slice());
}

Deno.test("create() stores the inode of example 9.1", async () => {
  const store = new TracedStore();
  await createWriter(store, { createdMs: CREATED_MS });
  assertEquals(await hashOf(store, "inode"), CREATE_INODE);
});

Deno.test("commit() stores the segments and inodes of examples 9.2 and 9.3", async () => {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: CREATED_MS });
  const first = await writer.commit(batchOf([[0, filled(0xaa)], [15, filled(0xbb)]]), {
    mtimeMs: FIRST_MS,
  });
  assertEquals(first.cno, 1);
  assertEquals(await hashOf(store, "inode"), FIRST_INODE);
  assertEquals(await hashOf(store, "0000000001"), FIRST_SEGMENT);
  await writer.commit(batchOf([[20, filled(0xcc)], [21, filled(0xdd)]]), { mtimeMs: SECOND_MS });
  assertEquals(await hashOf(store, "0000000002"), SECOND_SEGMENT);
});

Deno.test("commit() stores the direct root of example 9.2", async () => {
  const store = new TracedStore();
  const writer = await createWriter(store, {
    createdMs: CREATED_MS,
    zeroForm: "pointer",
  });
  const zeros = [{ startBlock: 2, blockCount: 1 }];
  await writer.commit(batchOf([[0, filled(0xaa)], [1, filled(0xbb)]], zeros), {
    mtimeMs: FIRST_MS,
    sizeBytes: 65536,
  });
  const root = store.bytesOf("inode").slice(104);
  const hex = [...root].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  assertEquals(hex, DIRECT_ROOT);
  assertEquals(store.bytesOf("0000000001").length, 3 * 4096);
});
