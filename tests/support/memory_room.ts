// The replicator's room on a primary in memory and on the store that a test gives, without target and
// queues: what a start does with both sides, and what it copies to the replica.

import { systemClock } from "../../src/base/clock.ts";
import { KiB } from "../../src/base/units.ts";
import { newUuid } from "../../src/base/uuid.ts";
import { PrimaryMetadata } from "../../src/primary/metadata.ts";
import { parseReplicaUri } from "../../src/replica/replica_uri.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { RetryStore } from "../../src/replica/retry_store.ts";
import type { StartState } from "../../src/replication/startup.ts";
import { ReplicatorRoom } from "../../src/replicator/room.ts";
import type {
  ReplicatorNews,
  ReplicatorReady,
  ReplicatorRoomOptions,
} from "../../src/replicator/room_options.ts";
import type { RoomSystem } from "../../src/replicator/room_system.ts";
import { runVerify } from "../../src/replicator/verify_run.ts";
import { ReplicatorBell } from "../../src/shared/bell.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { allocateShared, sharedLayout } from "../../src/shared/layout.ts";
import { assert } from "./assert.ts";
import { MemoryPrimary } from "./memory_primary.ts";

const BLOCK = 4 * KiB;
export const DEVICE_BYTES = 64 * BLOCK;
const REGION_BYTES = 8 * BLOCK;
/** A copy of the device takes less than half: it need not stop for a segment on the way. */
const POOL_BYTES = 4 * DEVICE_BYTES;

/** What a test says of a start. */
export type RoomWishes = Partial<
  Pick<ReplicatorRoomOptions, "acceptUnsafeStore" | "takeOver" | "skipInitialSync">
>;

export class MemoryRoom {
  readonly room: ReplicatorRoom;
  readonly news: ReplicatorNews[] = [];

  private constructor(
    primary: MemoryPrimary,
    openStore: () => ObjectStore,
    primaryState: StartState,
    wishes: RoomWishes,
  ) {
    const options = roomOptions(primary, primaryState, wishes);
    const onNews = (news: ReplicatorNews) => this.news.push(news);
    this.room = new ReplicatorRoom(options, { onNews }, roomSystem(primary, openStore));
  }

  /** A formatted primary whose blocks are not all zeros, with its replica in the store. */
  static async format(openStore: () => ObjectStore): Promise<MemoryPrimary> {
    const shape = { deviceSizeBytes: DEVICE_BYTES, regionBytes: REGION_BYTES, blockBytes: BLOCK };
    const primary = new MemoryPrimary(shape);
    primary.device.fill(7, 3 * BLOCK, 30 * BLOCK);
    await primary.format(() => Promise.resolve(openStore()));
    return primary;
  }

  /** A room that is not open yet; it opens a store of its own for each purpose, as the program does. */
  static async on(
    primary: MemoryPrimary,
    openStore: () => ObjectStore,
    wishes: RoomWishes = {},
  ): Promise<MemoryRoom> {
    const { superblock: { state } } = await PrimaryMetadata.load(primary.disk);
    assert(state !== "formatting");
    return new MemoryRoom(primary, openStore, state, wishes);
  }

  /** What a start reports; a start that is refused closes the room and rejects. */
  async open(): Promise<ReplicatorReady> {
    try {
      return await this.room.open();
    } catch (error) {
      await this.room.close();
      throw error;
    }
  }

  /** Replicates until nothing is left to copy, then stops; false: not all is on the replica. */
  async copyAndStop(): Promise<boolean> {
    const running = this.room.run();
    const sinceMs = performance.now();
    while (this.news.at(-1)?.mode !== "logging") {
      assert(performance.now() - sinceMs < 10_000, "the copy does not end");
      await systemClock.sleep(5);
    }
    this.room.stop();
    const drained = await running;
    await this.room.close();
    return drained;
  }
}

function roomOptions(
  { uuid }: MemoryPrimary,
  primaryState: StartState,
  wishes: RoomWishes,
): ReplicatorRoomOptions {
  const layout = sharedLayout({
    ...{ queues: 1, depth: 1, ioBufBytes: BLOCK, unitBytes: BLOCK, poolBytes: POOL_BYTES },
    ...{ regionBytes: REGION_BYTES, deviceSizeBytes: DEVICE_BYTES },
  });
  return {
    shared: allocateShared(layout),
    layout,
    doorbellFds: [],
    primaryPath: "memory-primary",
    bufferedIo: false,
    primaryState,
    skipInitialSync: false,
    writeIntent: true,
    takeOver: false,
    acceptUnsafeStore: false,
    force: false,
    resyncConcurrency: 1,
    resyncBytesPerSecond: null,
    deviceSizeBytes: DEVICE_BYTES,
    replica: parseReplicaUri("file:///replica", "the test"),
    s3: {},
    uuid,
    limits: { maxAgeMs: 10, targetBytes: 32 * BLOCK, flushIntervalMs: 10 },
    batchBlocks: 64,
    ...wishes,
  };
}

function roomSystem(primary: MemoryPrimary, openStore: () => ObjectStore): RoomSystem {
  return {
    clock: systemClock,
    random: Math.random,
    process: { host: "test", pid: Deno.pid, runs: () => false },
    newId: newUuid,
    openPrimary: () => Promise.resolve(primary.forRoom()),
    openStore: ({ retry: policy, onRetry: onEvent }) =>
      Promise.resolve(new RetryStore(openStore(), { policy, clock: systemClock, onEvent })),
    allocate: (sizeBytes) => ({ bytes: new Uint8Array(sizeBytes), release: () => {} }),
    bell: (views) => new ReplicatorBell(views),
    doorbells: (views) => new Doorbells(views, [], () => {}),
    setNice: () => {},
    loadVerify: () => Promise.resolve(runVerify),
  };
}
