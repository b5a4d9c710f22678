// Attaching, cut short at every request to the store and at every operation of the primary, and tried
// again: what a start decides never depends on where the one before was cut.

import { ReplicaError } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { newUuid } from "../../../src/base/uuid.ts";
import { MiB } from "../../../src/base/units.ts";
import { encodeDeviceCard } from "../../../src/format/device_card.ts";
import { primaryLayout } from "../../../src/format/primary_layout.ts";
import type { PrimaryState } from "../../../src/format/superblock.ts";
import { UnfinishedFormat } from "../../../src/primary/format_metadata.ts";
import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { HyperfileWriter } from "../../../src/replica/hyperfile_writer.ts";
import {
  type Attached,
  type AttachOptions,
  attachReplica,
} from "../../../src/replicator/attach.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { FailingDisk } from "../../support/failing_disk.ts";
import { TracedStore } from "../../support/traced_store.ts";

const SIZE = 4 * MiB;
const DEVICE = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  regionBytes: MiB,
  metaBlockBytes: 4096,
  dataBlockBytes: 4096,
  createdMs: 1,
};
const LAYOUT = primaryLayout({ ...DEVICE, primarySizeBytes: SIZE });
const AT = { mtimeMs: 5 };

type Wishes = Partial<Pick<AttachOptions, "takeOver" | "force" | "dirtyRegions">>;

/** A primary and its replica, between the lives of a daemon. */
interface Place {
  disk: FailingDisk;
  readonly store: TracedStore;
}

let pids = 0;

async function formatted(): Promise<Place> {
  const disk = new FailingDisk(SIZE);
  const card = { ...DEVICE, deviceSizeBytes: LAYOUT.deviceSizeBytes };
  const unfinished = await UnfinishedFormat.begin(disk, LAYOUT, {
    ...card,
    sequence: 1,
    primarySizeBytes: SIZE,
    state: "formatting",
    writtenMs: 1,
    claim: null,
    hasStagedMap: true,
    replicaRoot: "memory:///",
  });
  await unfinished.finish(2);
  const store = new TracedStore();
  store.set("device.json", encodeDeviceCard(card));
  (await HyperfileWriter.create(store, card)).close();
  return { disk, store };
}

function copyOf({ disk, store }: Place): Place {
  return { disk: new FailingDisk(SIZE, disk.pages()), store: store.clone() };
}

async function attach({ disk, store }: Place, wishes: Wishes = {}): Promise<Attached> {
  const metadata = await PrimaryMetadata.load(disk);
  const primaryState = metadata.superblock.state as Exclude<PrimaryState, "formatting">;
  return await attachReplica(store, {
    metadata,
    primaryState,
    dirtyRegions: 1,
    skipInitialSync: false,
    force: false,
    takeOver: false,
    process: { host: "db1", pid: ++pids, runs: () => false },
    clock: { ...systemClock, sleep: () => new Promise(() => undefined) },
    newId: newUuid,
    nodeCacheBytes: 1 << 20,
    signal: new AbortController().signal,
    ...wishes,
  });
}

/** What a start does: its action, or the kind of its error. */
async function decisionOf(place: Place, wishes: Wishes = {}): Promise<string> {
  try {
    return (await attach(place, wishes)).startup.action;
  } catch (error) {
    if (error instanceof ReplicaError) return error.kind;
    throw error;
  }
}

/** A daemon's life: attaches, commits `count` checkpoints with their records, and leaves `state`. */
async function live(
  place: Place,
  count: number,
  state: "active" | "clean",
  wishes: Wishes = {},
): Promise<Attached> {
  const attached = await attach(place, wishes);
  const { writer, claim } = attached;
  const metadata = await PrimaryMetadata.load(place.disk);
  for (let i = 0; i < count; i++) {
    const { cno } = await writer.commit(batchOf([[0, filled(writer.lastCno + 1)]]), AT);
    await metadata.appendFlushLog({ cno, timeMs: 1, committedBytes: 1 });
  }
  await metadata.storeSuperblock({ state, writtenMs: 3 });
  if (state === "clean") await claim.release();
  return attached;
}

/** Cuts a start at every request and every operation; `check` judges a start of what is left. */
async function cutEverywhere(
  place: Place,
  wishes: Wishes,
  check: (left: Place, cut: string) => Promise<void>,
): Promise<void> {
  for (const effect of ["lost", "answer-lost"] as const) {
    for (let nth = 0, done = false; !done; nth++) {
      const world = copyOf(place);
      done = true;
      world.store.hook = (_, ordinal) => {
        if (ordinal < nth) return undefined;
        done = false;
        return ordinal === nth ? effect : "lost";
      };
      await attach(world, wishes).catch(() => undefined);
      world.store.hook = () => undefined;
      await check(world, `${effect} at request ${nth}`);
    }
  }
  for (let operation = 0, done = false; !done; operation++) {
    const world = copyOf(place);
    world.disk.faults = [{ kind: "power cut", atOperation: operation }];
    await attach(world, wishes).catch(() => undefined);
    done = world.disk.operations <= operation;
    const left = { ...world, disk: world.disk.survivor(() => false) };
    await check(left, `power cut at operation ${operation}`);
  }
}

Deno.test("our own commit without its record is known after a start that was cut anywhere", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  await writer.commit(batchOf([[1, filled(9)]]), AT);
  await cutEverywhere(place, {}, async (left, cut) => {
    const { startup, writer } = await attach(left);
    assertEquals([startup.action, writer.lastCno], ["forward-part", 3], cut);
    const metadata = await PrimaryMetadata.load(left.disk);
    assertEquals(metadata.lastFlush?.cno, 3, cut);
  });
});

Deno.test("our own orphan is adopted or given up, whatever cut the start", async () => {
  const place = await formatted();
  const { writer } = await live(place, 2, "active");
  place.store.hook = ({ verb, key }) => verb === "put" && key === "inode" ? "lost" : undefined;
  await writer.commit(batchOf([[1, filled(9)]]), AT).catch(() => undefined);
  place.store.hook = () => undefined;
  assertEquals((await attach(copyOf(place))).writer.orphans.adopted, 3);
  await cutEverywhere(place, {}, async (left, cut) => {
    const { startup, writer } = await attach(left);
    assertEquals(startup.action, "forward-part", cut);
    assert([2, 3].includes(writer.lastCno), cut);
    await writer.commit(batchOf([[1, filled(7)]]), AT);
  });
});

/** A primary with checkpoint 2, and a copy of it whose daemon has gone on to 3 and still runs. */
async function leftBehind(): Promise<Place> {
  const place = await formatted();
  await live(place, 2, "clean");
  const copy = { ...place, disk: new FailingDisk(SIZE, place.disk.pages()) };
  await live(copy, 1, "active");
  return place;
}

Deno.test("another writer's commit is never taken for ours, whatever cut the takeover", async () => {
  const place = await leftBehind();
  const metadata = await PrimaryMetadata.load(place.disk);
  await metadata.storeSuperblock({ state: "active", writtenMs: 4 });
  assertEquals(await decisionOf(copyOf(place)), "fenced");
  assertEquals(await decisionOf(copyOf(place), { takeOver: true }), "data");
  await cutEverywhere(place, { takeOver: true }, async (left, cut) => {
    assert(["fenced", "data"].includes(await decisionOf(left)), cut);
    assertEquals(await decisionOf(left, { takeOver: true, force: true }), "forward-full", cut);
  });
});

Deno.test("a forced copy stays a copy of everything until it is published", async () => {
  for (const state of ["clean", "active"] as const) {
    const place = await leftBehind();
    const metadata = await PrimaryMetadata.load(place.disk);
    await metadata.storeSuperblock({ state, writtenMs: 4 });
    const wishes = { takeOver: true, force: true, dirtyRegions: 0 };
    await cutEverywhere(place, wishes, async (left, cut) => {
      const again = await decisionOf(left, { dirtyRegions: 0 });
      assert(["fenced", "data", "forward-full"].includes(again), `${cut}: ${again}`);
    });
  }
});

Deno.test("a replica that is behind is followed only by force, and its numbers go on", async () => {
  const place = await formatted();
  await live(place, 1, "clean");
  const early = place.store.clone();
  await live(place, 3, "clean");
  const old = { ...place, store: early };
  assertEquals(await decisionOf(copyOf(old)), "data");
  const { writer, startup } = await attach(old, { force: true });
  assertEquals([startup.action, writer.lastCno], ["forward-full", 1]);
  const metadata = await PrimaryMetadata.load(old.disk);
  assertEquals([metadata.lastFlush?.cno, metadata.superblock.state], [1, "diverged"]);
  await metadata.appendFlushLog({ cno: 2, timeMs: 1, committedBytes: 1 });
});
