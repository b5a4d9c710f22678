import { ReplicaError } from "../../../src/base/errors.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { InodeRecord } from "../../../src/format/inode.ts";
import type { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import { createWriter, openWriter, type SoleOptions } from "../../support/sole_writer.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { readImage } from "../../support/image.ts";
import { type Fault, TracedStore } from "../../support/traced_store.ts";

const INODE = "inode";
const SECOND = "0000000002";
const AT = { mtimeMs: 5 };
const BATCH = batchOf([[1, filled(2)], [300, filled(3)]]);

/** What a claim says that another writer has taken over. */
function claimIsLost(): Promise<void> {
  return Promise.reject(new ReplicaError("fenced", "Cannot write: db2 has claimed the replica"));
}

/** A replica with one checkpoint, and its writer. */
async function start(
  options: SoleOptions = {},
): Promise<{ store: TracedStore; writer: HyperfileWriter }> {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1, ...options });
  await writer.commit(batchOf([[0, filled(1)]]), AT);
  store.requests.length = 0;
  return { store, writer };
}

/** Fails the `nth` put of `key` (from 0) with `fault`. */
function failPut(store: TracedStore, key: string, fault: Fault, nth = 0): void {
  let seen = 0;
  store.hook = (request) => {
    if (request.verb !== "put" || request.key !== key) return undefined;
    return seen++ === nth ? fault : undefined;
  };
}

async function isCommitted(store: TracedStore, writer: HyperfileWriter, cno = 2): Promise<void> {
  store.hook = () => undefined;
  assertEquals([writer.lastCno, writer.hasPending], [cno, false]);
  const image = await readImage(store);
  assertEquals([image[0], image[4096], image[300 * 4096], image.length], [1, 2, 3, 301 * 4096]);
}

function changeInode(store: TracedStore, change: (inode: Uint8Array) => void): void {
  const raw = store.bytesOf(INODE);
  change(raw);
  store.set(INODE, raw);
}

function touchTimes(raw: Uint8Array, seconds: number): void {
  viewOf(raw).setBigUint64(InodeRecord.offset.atime, BigInt(seconds), true);
}

async function kindOf(run: Promise<unknown>): Promise<string> {
  try {
    await run;
    return "success";
  } catch (error) {
    assert(error instanceof ReplicaError, `${error}`);
    return error.kind;
  }
}

Deno.test("commit() takes two puts and no other request when the tree is cached", async () => {
  const { store, writer } = await start();
  const result = await writer.commit(BATCH, AT);
  assertEquals(store.requests.map(({ verb, key }) => `${verb} ${key}`), [
    `put ${SECOND}`,
    `put ${INODE}`,
  ]);
  assertEquals([result.cno, result.putCount, result.dataBlocks], [2, 2, 2]);
  await isCommitted(store, writer);
});

for (const key of [SECOND, INODE]) {
  Deno.test(`commit() finds by reading that a lost answer to the put of ${key} meant success`, async () => {
    const { store, writer } = await start();
    failPut(store, key, "answer-lost");
    assertEquals((await writer.commit(BATCH, AT)).cno, 2);
    await isCommitted(store, writer);
  });

  Deno.test(`commit() can be repeated when the put of ${key} was lost`, async () => {
    const { store, writer } = await start();
    failPut(store, key, "lost");
    assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
    assertEquals([writer.lastCno, writer.hasPending], [1, true]);
    const segment = store.inner.objects.get(SECOND)?.bytes;
    assertEquals((await writer.commit(BATCH, { mtimeMs: 77 })).cno, 2);
    if (segment !== undefined) assertEquals(store.bytesOf(SECOND), segment.slice());
    await isCommitted(store, writer);
  });

  Deno.test(`commit() copes with a put of ${key} that arrives after it was given up`, async () => {
    const { store, writer } = await start();
    // The bytes that the lost put carried, from a run without faults.
    const twin = store.clone();
    const other = await openWriter(twin);
    await other.commit(BATCH, AT);
    failPut(store, key, "lost");
    assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
    store.set(key, twin.bytesOf(key));
    store.hook = () => undefined;
    assertEquals((await writer.commit(BATCH, AT)).cno, 2);
    await isCommitted(store, writer);
  });

  Deno.test(`commit() stays repeatable when the outcome for ${key} can't be read`, async () => {
    const { store, writer } = await start();
    store.hook = ({ verb, key: k }) => {
      if (verb === "put" && k === key) return "answer-lost";
      return verb === "get" ? "lost" : undefined;
    };
    assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
    assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
    store.hook = () => undefined;
    assertEquals((await writer.commit(BATCH, AT)).cno, 2);
    await isCommitted(store, writer);
  });

  Deno.test(`commit() takes a refusal of ${key} without a reason (409) as unavailable or retries`, async () => {
    const { store, writer } = await start();
    failPut(store, key, "refused");
    const kind = await kindOf(writer.commit(BATCH, AT));
    assertEquals(kind, key === INODE ? "success" : "unavailable");
    if (kind !== "success") await writer.commit(BATCH, AT);
    await isCommitted(store, writer);
  });
}

Deno.test("commit() wants a failed batch again, not another", async () => {
  const { store, writer } = await start();
  failPut(store, SECOND, "lost");
  assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
  await assertRejects(() => writer.commit(batchOf([]), AT), Error, "failed batch");
  assertEquals((await writer.commit(BATCH, AT)).cno, 2);
});

Deno.test("commit() goes on when readers rewrite the inode's times", async () => {
  const { store, writer } = await start();
  changeInode(store, (raw) => touchTimes(raw, 100));
  let races = 3;
  store.hook = ({ verb, key }) => {
    if (verb === "put" && key === INODE && races > 0) {
      races--;
      changeInode(store, (raw) => touchTimes(raw, 200 + races));
    }
    return undefined;
  };
  assertEquals((await writer.commit(BATCH, AT)).cno, 2);
  assertEquals((await writer.commit(batchOf([[9, filled(9)]]), AT)).cno, 3);
  store.hook = () => undefined;
});

Deno.test("commit() gives up, repeatably, on an inode that changes all the time", async () => {
  const { store, writer } = await start();
  let seconds = 1;
  store.hook = ({ verb, key }) => {
    if (verb === "put" && key === INODE) changeInode(store, (raw) => touchTimes(raw, seconds++));
    return undefined;
  };
  assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
  store.hook = () => undefined;
  assertEquals((await writer.commit(BATCH, AT)).cno, 2);
  await isCommitted(store, writer);
});

for (const touched of [false, true]) {
  const title = touched ? "adopts and reads" : "adopts";
  Deno.test(`commit() succeeds when a reader ${title} the segment between the puts`, async () => {
    const { store, writer } = await start();
    let adopted = false;
    store.hook = ({ verb, key }) => {
      if (verb !== "put" || key !== INODE || adopted) return undefined;
      adopted = true;
      const inode = store.bytesOf(SECOND).slice(24, 184);
      if (touched) touchTimes(inode, 1234);
      store.set(INODE, inode);
      return undefined;
    };
    assertEquals((await writer.commit(BATCH, AT)).cno, 2);
    assertEquals((await writer.commit(batchOf([[2, filled(4)]]), AT)).cno, 3);
    assertEquals((await readImage(store))[2 * 4096], 4);
  });
}

const FOREIGN: readonly (readonly [string, (store: TracedStore) => void])[] = [
  ["has another checkpoint", (store) =>
    changeInode(store, (raw) => {
      viewOf(raw).setBigUint64(InodeRecord.offset.lastSeq, 9n, true);
      viewOf(raw).setBigUint64(InodeRecord.offset.lastCno, 9n, true);
    })],
  ["has another root", (store) => changeInode(store, (raw) => raw[InodeRecord.offset.bmap + 40]++)],
  ["has another size", (store) => changeInode(store, (raw) => raw[InodeRecord.offset.size + 2]++)],
  ["is gone", (store) => store.inner.objects.delete(INODE)],
  ["is cut short", (store) => store.set(INODE, store.bytesOf(INODE).slice(0, 100))],
  ["is nonsense", (store) => store.set(INODE, filled(0xff, 160))],
];

for (const [what, change] of FOREIGN) {
  for (const when of ["before the commit", "between the puts", "after a lost put"]) {
    Deno.test(`commit() is fenced when the inode ${what} ${when}`, async () => {
      const { store, writer } = await start();
      if (when === "before the commit") change(store);
      else if (when === "between the puts") {
        store.hook = ({ verb, key }) => {
          if (verb === "put" && key === INODE) change(store);
          return undefined;
        };
      } else {
        failPut(store, INODE, "lost");
        assertEquals(await kindOf(writer.commit(BATCH, AT)), "unavailable");
        change(store);
      }
      assertEquals(await kindOf(writer.commit(BATCH, AT)), "fenced");
      store.hook = () => undefined;
      store.requests.length = 0;
      const inode = store.inner.objects.get(INODE)?.etag;
      assertEquals(await kindOf(writer.commit(BATCH, AT)), "fenced");
      assertEquals(await kindOf(writer.discardStaged()), "fenced");
      assertEquals(store.requests, []);
      assertEquals(store.inner.objects.get(INODE)?.etag, inode);
    });
  }
}

for (
  const [what, alter] of [
    ["other data", (raw: Uint8Array) => (raw[raw.length - 1] ^= 1, raw)],
    ["another header", (raw: Uint8Array) => (raw[100] ^= 1, raw)],
    ["more bytes", (raw: Uint8Array) => new Uint8Array([...raw, 0])],
    ["fewer bytes", (raw: Uint8Array) => raw.slice(0, -1)],
  ] as const
) {
  Deno.test(`commit() is fenced by a later writer's segment of its number with ${what}`, async () => {
    let held = Promise.resolve();
    const { store, writer } = await start({ requireHeld: () => held });
    held = claimIsLost();
    held.catch(() => undefined); // whoever asks hears it
    const twin = store.clone();
    await (await openWriter(twin)).commit(BATCH, AT);
    const foreign = alter(twin.bytesOf(SECOND));
    store.set(SECOND, foreign);
    assertEquals(await kindOf(writer.commit(BATCH, AT)), "fenced");
    assertEquals(store.bytesOf(SECOND), foreign.slice());
    assertEquals(store.count("put", INODE), 0);
  });
}

Deno.test("of two writers the second stops, and the first loses nothing", async () => {
  const { store, writer } = await start();
  let held = Promise.resolve();
  const second = await openWriter(store, { requireHeld: () => held });
  held = claimIsLost();
  held.catch(() => undefined); // whoever asks hears it
  await writer.commit(BATCH, AT);
  assertEquals(await kindOf(second.commit(batchOf([[1, filled(99)]]), AT)), "fenced");
  assertEquals((await writer.commit(batchOf([[2, filled(5)]]), AT)).cno, 3);
  const image = await readImage(store);
  assertEquals([image[0], image[4096], image[2 * 4096]], [1, 2, 5]);
});

Deno.test("commit() that fails before anything was put leaves no trace", async () => {
  const { store } = await start();
  const cold = await openWriter(store, { nodeCacheBytes: 0 });
  await cold.commit(BATCH, AT);
  await cold.commit(batchOf([[5, filled(5)], [6, filled(6)], [7, filled(7)]]), AT);
  store.hook = ({ verb }) => verb === "get" ? "lost" : undefined;
  store.requests.length = 0;
  assertEquals(await kindOf(cold.commit(batchOf([[8, filled(8)]]), AT)), "unavailable");
  assertEquals([store.count("put"), cold.hasPending, cold.lastCno], [0, false, 3]);
  store.hook = () => undefined;
  assertEquals((await cold.commit(batchOf([[9, filled(9)]]), AT)).cno, 4);
});

Deno.test("close() refuses later commits", async () => {
  const { writer } = await start();
  writer.close();
  assertEquals(await kindOf(writer.commit(BATCH, AT)), "closed");
});

Deno.test("commit() lays one commit after another: a second call meanwhile is a bug", async () => {
  const { writer } = await start();
  const first = writer.commit(BATCH, AT);
  await assertRejects(() => writer.commit(BATCH, AT), Error, "one commit at a time");
  assertEquals((await first).cno, 2);
});
