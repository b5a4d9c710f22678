// Claims by one process after another: every request fails once, every process dies at every request,
// lost puts arrive late; and what a second daemon is told.

import { ReplicaError } from "../../../src/base/errors.ts";
import {
  decodeDeviceCard,
  encodeDeviceCard,
  type StoredCard,
} from "../../../src/format/device_card.ts";
import { checkClaim } from "../../../src/replica/claim.ts";
import { readInode } from "../../../src/replica/inode_reader.ts";
import { hasStamp } from "../../../src/replica/touch_inode.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { CARD, Claimant, formatReplica } from "../../support/claimant.ts";
import { type Fault, TracedStore } from "../../support/traced_store.ts";

const KEY = "device.json";

async function replica(): Promise<TracedStore> {
  const store = new TracedStore();
  await formatReplica(store);
  store.requests.length = 0;
  return store;
}

function cardOf(store: TracedStore): StoredCard {
  return decodeDeviceCard(store.bytesOf(KEY), KEY);
}

async function stamped(store: TracedStore, epoch: number): Promise<boolean> {
  const found = await readInode(store);
  return found !== null && hasStamp(found.inode, epoch);
}

/** The kind of error, or the claim's origin. */
async function outcome(run: Promise<{ from: string }>): Promise<string> {
  try {
    return (await run).from;
  } catch (error) {
    assert(error instanceof ReplicaError, `${error}`);
    return error.kind;
  }
}

Deno.test("take() names the writer, counts the claim, stamps the inode and remembers", async () => {
  const store = await replica();
  store.set(KEY, encodeDeviceCard({ ...CARD, others: { note: "kept" } }));
  const host = new Claimant("db1");
  const claim = await host.take(store);
  const { epoch, writer, others } = cardOf(store);
  assertEquals([epoch, writer, others], [1, claim.writer, { note: "kept" }]);
  assertEquals([claim.from, claim.epoch, writer?.host, writer?.pid], ["free", 1, "db1", 1]);
  assert(await stamped(store, 1), "the inode is touched");
  assertEquals(host.claim?.stage, "claiming");
  await claim.settle();
  assertEquals(host.claim, {
    stage: "held",
    epoch: 1,
    id: claim.writer.id,
    previousId: null,
    heldEpoch: 1,
  });
  await claim.requireHeld();
  await claim.release();
  assertEquals([cardOf(store).writer, cardOf(store).epoch], [null, 1]);
});

Deno.test("take() refuses a second writer, names the holder and the way out", async () => {
  const store = await replica();
  await new Claimant("db1").take(store);
  const before = store.keys().map((key) => store.bytesOf(key));
  const error = await outcomeError(() => new Claimant("db2").take(store));
  assertEquals(error.kind, "fenced");
  assert(/host db1, pid 1, since 2023-11-14T22:13:20/.test(error.message), error.message);
  assert(error.hint?.includes("--take-over") === true, "the way out");
  assertEquals(store.keys().map((key) => store.bytesOf(key)), before);
  await assertRejects(
    () => checkClaim(store, new Claimant("db2").options()),
    ReplicaError,
    "host db1",
  );
});

async function outcomeError(run: () => Promise<unknown>): Promise<ReplicaError> {
  try {
    await run();
  } catch (error) {
    if (error instanceof ReplicaError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

Deno.test("a writer that is taken over is fenced, and is told by whom", async () => {
  const store = await replica();
  const old = await new Claimant("db1").take(store);
  const next = await new Claimant("db2").take(store, { takeOver: true });
  assertEquals([next.from, next.epoch], ["other", 2]);
  const error = await outcomeError(() => old.requireHeld());
  assertEquals(error.kind, "fenced");
  assert(/took it over: host db2, pid 1/.test(error.message), error.message);
  assert(error.hint?.includes("--take-over") === true, "how to get it back");
  assertEquals((await outcomeError(() => old.release())).kind, "fenced");
  await next.release();
  assert(/has released it/.test((await outcomeError(() => old.requireHeld())).message), "free");
});

Deno.test("a daemon that died finds its own claim; a copy beside a living one is refused", async () => {
  const store = await replica();
  const host = new Claimant("db1");
  await host.attach(store);
  const copy = host.copy("db1");
  copy.seen.add(1);
  assertEquals(await outcome(copy.take(store)), "fenced");
  assertEquals(await outcome(host.take(store)), "own");
  assertEquals(cardOf(store).epoch, 2);
});

for (const fault of ["lost", "answer-lost", "refused"] as const) {
  Deno.test(`take() and release() with any one request ${fault}`, async () => {
    for (let nth = 0; nth < 40; nth++) {
      const store = await replica();
      const host = new Claimant("db1");
      let hits = 0;
      store.hook = (_, ordinal) => ordinal === nth && ++hits ? fault : undefined;
      const first = await outcome(host.take(store));
      store.hook = () => undefined;
      const claim = first === "free" ? null : await host.take(store);
      // The store is there again: the claim is ours, under one epoch or the next.
      assertEquals(claim?.from ?? "free", claim && cardOf(store).epoch === 2 ? "own" : "free");
      assert(await stamped(store, cardOf(store).epoch), `request ${nth}`);
      if (hits === 0) return;
    }
    throw new Error("the faults never came to an end");
  });
}

/** Runs `life` with request `nth` failing and no request after it: a process that died there. */
async function dying(
  store: TracedStore,
  nth: number,
  fault: Fault,
  life: () => Promise<unknown>,
): Promise<boolean> {
  let died = false;
  const start = store.requests.length;
  store.hook = (_, ordinal) => {
    if (ordinal < start + nth) return undefined;
    const now = !died;
    died = true;
    return now ? fault : "lost";
  };
  await life().catch(() => undefined);
  store.hook = () => undefined;
  return died;
}

for (const fault of ["lost", "answer-lost"] as const) {
  for (const from of ["free", "own", "other"] as const) {
    Deno.test(`a crash at any request of a claim of what was ${from} (${fault})`, async () => {
      for (let nth = 0;; nth++) {
        const store = await replica();
        const host = new Claimant("db1");
        if (from === "own") await host.attach(store);
        if (from === "other") await new Claimant("db0").attach(store);
        const before = cardOf(store).epoch;
        const takeOver = from === "other";
        const died = await dying(store, nth, fault, () => host.attach(store, { takeOver }));
        const reached = cardOf(store).epoch > before;
        // Only a claim that stands, or was free, needs no leave.
        const again = await outcome(host.take(store));
        const expected = reached ? "own" : from === "other" ? "fenced" : from;
        assertEquals(again, expected, `request ${nth}`);
        if (!died) break;
      }
    });
  }
}

Deno.test("a put of a dead process that arrives late is still this primary's", async () => {
  const store = await replica();
  const host = new Claimant("db1");
  let late: Uint8Array<ArrayBuffer> | null = null;
  const twin = store.clone();
  const shadow = host.copy("db1");
  await dying(store, 1, "lost", () => host.take(store));
  // What the lost put carried: the same claim by the same process, on a replica of its own.
  shadow.claim = host.claim;
  await shadow.take(twin);
  late = twin.bytesOf(KEY);
  store.hook = ({ verb, key }) => {
    if (verb === "put" && key === KEY && late !== null) {
      store.set(KEY, late);
      late = null;
    }
    return undefined;
  };
  const claim = await host.take(store);
  assertEquals([claim.from, claim.epoch], ["own", 2]);
  await claim.requireHeld();
});

Deno.test("of two that take over at once the later stands, and never both", async () => {
  const store = await replica();
  await new Claimant("db0").take(store);
  const [a, b] = [new Claimant("a"), new Claimant("b")];
  const claims = await Promise.allSettled([a, b].map((one) => one.take(store, { takeOver: true })));
  const won = claims.flatMap((claim) => claim.status === "fulfilled" ? [claim.value] : []);
  assertEquals(won.length, 1, "leave is for the writer that stood there, not for the winner");
  assertEquals(cardOf(store).writer, won[0].writer);
});

Deno.test("take() refuses the replica of another device and a replica without an inode", async () => {
  const store = await replica();
  store.set(KEY, encodeDeviceCard({ ...CARD, deviceSizeBytes: 1 << 21 }));
  assertEquals(await outcome(new Claimant("db1").take(store)), "data");
  store.inner.objects.delete(KEY);
  assertEquals(await outcome(new Claimant("db1").take(store)), "data");
  store.set(KEY, encodeDeviceCard(CARD));
  store.inner.objects.delete("inode");
  assertEquals(await outcome(new Claimant("db1").take(store)), "usage");
});
