// A primary and its replica in memory, a start of its daemon up to the attached writer, and every way to
// cut such a start short.

import { ReplicaError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/clock.ts";
import { newUuid } from "../../src/base/uuid.ts";
import { MiB } from "../../src/base/units.ts";
import { encodeDeviceCard } from "../../src/format/device_card.ts";
import { primaryLayout } from "../../src/format/primary_layout.ts";
import type { PrimaryState } from "../../src/format/superblock.ts";
import { UnfinishedFormat } from "../../src/primary/format_metadata.ts";
import { PrimaryMetadata } from "../../src/primary/metadata.ts";
import { createHyperfile } from "../../src/replica/create_hyperfile.ts";
import { type Attached, type AttachOptions, attachReplica } from "../../src/replicator/attach.ts";
import { assert } from "./assert.ts";
import { batchOf, filled } from "./batches.ts";
import { FailingDisk } from "./failing_disk.ts";
import { TracedStore } from "./traced_store.ts";

import type { Disk } from "../../src/primary/disk.ts";
import { readDirtyMap } from "../../src/primary/dirty_map.ts";
import { loadIntents } from "../../src/replicator/intent_pages.ts";
import { StagedMap } from "../../src/replicator/staged_map.ts";
import { StagedStart } from "../../src/replicator/staged_start.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../src/shared/layout.ts";

export const SIZE = 4 * MiB;
const DEVICE = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  regionBytes: MiB,
  metaBlockBytes: 4096,
  dataBlockBytes: 4096,
  createdMs: 1,
};
const LAYOUT = primaryLayout({ ...DEVICE, primarySizeBytes: SIZE });
export const AT = { mtimeMs: 5 };

export type Wishes = Partial<Pick<AttachOptions, "takeOver" | "force" | "dirtyRegions" | "marked">>;

/** What a start has of the primary's maps. */
export interface Maps {
  readonly views: SharedViews;
  readonly dirty: IntentMap;
  readonly staged: StagedMap;
}

/** A primary and its replica, between the lives of a daemon. */
export interface Place {
  disk: FailingDisk;
  readonly store: TracedStore;
}

let pids = 0;

export async function formatted(): Promise<Place> {
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
  await createHyperfile(store, card);
  return { disk, store };
}

export function copyOf({ disk, store }: Place): Place {
  return { disk: new FailingDisk(SIZE, disk.pages()), store: store.clone() };
}

/** The maps as they lie on the primary. */
export async function mapsOf(disk: Disk): Promise<Maps> {
  const layout = sharedLayout({
    ...LAYOUT,
    queues: 1,
    depth: 1,
    ioBufBytes: 4096,
    unitBytes: 4096,
    poolBytes: 64 * 4096,
  });
  const views = sharedViews(allocateShared(layout), layout);
  loadIntents(views, await readDirtyMap(disk, LAYOUT, DEVICE.uuid));
  const staged = await StagedMap.load(disk, LAYOUT, DEVICE.uuid);
  assert(staged !== null);
  return { views, dirty: new IntentMap(views), staged };
}

export async function attach(
  { disk, store }: Place,
  wishes: Wishes = {},
): Promise<Attached & { maps: Maps }> {
  const metadata = await PrimaryMetadata.load(disk);
  const primaryState = metadata.superblock.state as Exclude<PrimaryState, "formatting">;
  const maps = await mapsOf(disk);
  const clock = { ...systemClock, sleep: () => new Promise<void>(() => undefined) };
  const { views, staged: map } = maps;
  const attached = await attachReplica(store, {
    metadata,
    primaryState,
    dirtyRegions: 1,
    marked: { has: () => true },
    staged: new StagedStart({ views, disk, layout: LAYOUT, map, clock }),
    skipInitialSync: false,
    force: false,
    takeOver: false,
    process: { host: "db1", pid: ++pids, runs: () => false },
    clock,
    newId: newUuid,
    nodeCacheBytes: 1 << 20,
    signal: new AbortController().signal,
    ...wishes,
  });
  return { ...attached, maps };
}

/** What a start does: its action, or the kind of its error. */
export async function decisionOf(place: Place, wishes: Wishes = {}): Promise<string> {
  try {
    return (await attach(place, wishes)).startup.action;
  } catch (error) {
    if (error instanceof ReplicaError) return error.kind;
    throw error;
  }
}

/** A daemon's life: attaches, commits `count` checkpoints with their records, and leaves `state`. */
export async function live(
  place: Place,
  count: number,
  state: "active" | "clean",
  { mtimeMs, ...wishes }: Wishes & { mtimeMs: number } = AT,
): Promise<Attached> {
  const attached = await attach(place, wishes);
  const { writer, claim } = attached;
  const metadata = await PrimaryMetadata.load(place.disk);
  for (let i = 0; i < count; i++) {
    const { cno } = await writer.commit(batchOf([[0, filled(writer.lastCno + 1)]]), { mtimeMs });
    const { checkpointDigest } = writer;
    await metadata.appendFlushLog({ cno, timeMs: 1, committedBytes: 1, checkpointDigest });
  }
  await metadata.storeSuperblock({ state, writtenMs: 3 });
  if (state === "clean") await claim.release();
  return attached;
}

/** Cuts a start at every request and every operation; `check` judges a start of what is left. */
export async function cutEverywhere(
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
