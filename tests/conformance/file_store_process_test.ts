// The file store between processes, and when one is killed in the middle of a put.

import { ReplicaError } from "../../src/base/errors.ts";
import { FileStore } from "../../src/replica/file_store.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { numbered } from "../support/store_writer.ts";
import { equal, keysOf, pattern, rejectsWith, stored } from "./object_store_contract.ts";

const WRITER = new URL("../support/store_writer.ts", import.meta.url).pathname;

async function withRoot(body: (root: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "hir-store-" });
  const root = `${folder}/root`;
  await (await FileStore.open({ path: root, access: "create" })).close();
  try {
    await body(root);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function spawn(...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", WRITER, ...args],
    stdout: "piped",
    stderr: "inherit",
    stdin: "null",
  }).spawn();
}

Deno.test("FileStore: of racing processes one creates and no replacement is lost", async () => {
  await withRoot(async (root) => {
    const rounds = 60;
    const outputs = await Promise.all([1, 2].map(() => spawn("race", root, `${rounds}`).output()));
    const lines = outputs.map(({ stdout }) => new TextDecoder().decode(stdout).split("\n"));
    for (let round = 0; round < rounds; round++) {
      const winners = lines.filter((each) => each.includes(`created ${round}`));
      assertEquals(winners.length, 1, `round ${round}`);
    }
    const store = await FileStore.open({ path: root, access: "read" });
    assertEquals((await store.head("counter"))?.size, 2 * rounds);
    await store.close();
  });
});

Deno.test("FileStore: a kill -9 during puts leaves whole objects and no acknowledged one lost", async () => {
  await withRoot(async (root) => {
    for (const delayMs of [20, 45, 70, 110, 160]) await killOnce(root, delayMs);
  });
});

async function killOnce(root: string, delayMs: number): Promise<void> {
  const child = spawn("churn", root);
  let tried = 0;
  let acknowledged = 0;
  for await (const line of linesOf(child.stdout)) {
    const [word, number] = line.split(" ");
    if (word === "try") tried = Number(number);
    if (word === "done") acknowledged = Number(number);
    // The first acknowledgement ends the time that the process needs to start.
    if (line === "done 1") setTimeout(() => child.kill("SIGKILL"), delayMs);
  }
  await child.status;
  const store = await FileStore.open({ path: root, access: "write" });
  const inode = (await store.get("inode"))!.bytes;
  const current = new DataView(inode.buffer).getUint32(0);
  assert(equal(inode, numbered(current)), "the inode is whole");
  assert(current === tried || current === tried - 1, `inode ${current} of ${tried}`);
  assert(current >= acknowledged, `inode ${current} after ${acknowledged} was acknowledged`);
  for (const key of await keysOf(store)) {
    if (key === "inode") continue;
    assert(equal((await store.get(key))!.bytes, numbered(Number(key))), `${key} is whole`);
    await store.delete(key);
  }
  // What the killed process left is gone, and no lock of it holds us up.
  const own = Array.from(Deno.readDirSync(`${root}/.store`), ({ name }) => name);
  assertEquals(own, ["lock"]);
  await store.close();
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

Deno.test("FileStore: a temporary file that a living writer holds stays", async () => {
  await withRoot(async (root) => {
    const held = `${root}/.store/held.tmp`;
    const dead = `${root}/.store/dead.tmp`;
    await Deno.writeFile(dead, new Uint8Array(10));
    const file = await Deno.open(held, { write: true, createNew: true });
    await file.lock(true);
    const store = await FileStore.open({ path: root, access: "write" });
    const names = Array.from(Deno.readDirSync(`${root}/.store`), ({ name }) => name).sort();
    assertEquals(names, ["held.tmp", "lock"]);
    assertEquals(await keysOf(store), []);
    await store.close();
    file.close();
  });
});

Deno.test("FileStore: a lock that another holds makes puts unavailable, not hang", async () => {
  await withRoot(async (root) => {
    const store = await FileStore.open({ path: root, access: "write", lockTimeoutMs: 100 });
    const file = await Deno.open(`${root}/.store/lock`, { read: true, write: true });
    await file.lock(true);
    const error = await rejectsWith("unavailable", () => store.put("inode", [pattern(10, 1)]));
    assertEquals([error.context.code, error.context.effect], ["Locked", "none"]);
    const many = await Promise.allSettled(Array.from({ length: 5 }, () => store.delete("inode")));
    assert(many.every(({ status }) => status === "rejected"));
    file.close();
    stored(await store.put("inode", [pattern(10, 1)]));
    await store.close();
  });
});

Deno.test("FileStore: every put has an etag of its own, also with the same content", async () => {
  await withRoot(async (root) => {
    const store = await FileStore.open({ path: root, access: "write" });
    const etags = new Set<string>();
    for (let round = 0; round < 200; round++) {
      etags.add(stored(await store.put("inode", [pattern(160, 1)])));
      if (round % 3 === 0) await store.delete("inode");
    }
    assertEquals(etags.size, 200);
    await store.close();
  });
});

Deno.test("FileStore: a directory that goes away is unavailable, not empty", async () => {
  await withRoot(async (root) => {
    const store = await FileStore.open({ path: root, access: "write" });
    stored(await store.put("inode", [pattern(160, 1)]));
    await Deno.rename(root, `${root}-moved`);
    await rejectsWith("unavailable", () => store.head("inode"));
    // What an unmount leaves: an empty directory under the same path.
    await Deno.mkdir(root);
    const absent = { condition: { absent: true } } as const;
    await rejectsWith("unavailable", () => store.get("inode"));
    await rejectsWith("unavailable", () => store.put("inode", [pattern(1, 1)], absent));
    await rejectsWith("unavailable", () => Array.fromAsync(store.list()));
    assertEquals([...Deno.readDirSync(root)], []);
    await store.close();
  });
});

Deno.test("FileStore: a full file system says so, and the old object stays", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hir-full-" });
  const mount = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder],
    stderr: "piped",
  }).output();
  if (!mount.success) {
    // Without the right to mount, the mapping of ENOSPC is still covered by file_error_test.ts.
    await Deno.remove(folder);
    return;
  }
  try {
    const store = await FileStore.open({ path: folder, access: "write" });
    stored(await store.put("inode", [pattern(160, 1)]));
    const error = await rejectsWith("unavailable", () => store.put("inode", [pattern(8 << 20, 2)]));
    assertEquals([error.context.code, error.context.effect], ["ENOSPC", "none"]);
    assert(error.context.operator === true && error.hint?.startsWith("Free space"), error.hint);
    assertEquals((await store.get("inode"))?.bytes, pattern(160, 1));
    assertEquals(await keysOf(store), ["inode"]);
    stored(await store.put("inode", [pattern(161, 3)]));
    await store.close();
  } finally {
    await new Deno.Command("umount", { args: [folder] }).output();
    await Deno.remove(folder);
  }
});

Deno.test("FileStore: objects are plain files with the same bytes", async () => {
  await withRoot(async (root) => {
    const store = await FileStore.open({ path: root, access: "write" });
    stored(await store.put("0000000001", [pattern(1000, 1), pattern(500, 2)]));
    const file = await Deno.readFile(`${root}/0000000001`);
    assertEquals(file, new Uint8Array([...pattern(1000, 1), ...pattern(500, 2)]));
    // And a file that somebody copied there is an object.
    await Deno.writeFile(`${root}/0000000002`, pattern(77, 3));
    assertEquals((await store.get("0000000002"))?.bytes, pattern(77, 3));
    assertEquals(await keysOf(store), ["0000000001", "0000000002"]);
    await store.close();
  });
});

Deno.test("FileStore.open() explains what it can't use", async () => {
  await withRoot(async (root) => {
    await Deno.writeTextFile(`${root}/file`, "");
    for (const path of [`${root}/nothing`, `${root}/file`]) {
      const error = await rejectsWith("usage", () => FileStore.open({ path, access: "write" }));
      assert(error instanceof ReplicaError && error.hint !== undefined);
    }
  });
});
