// The seams at which a test may plant a bug: each hands out a part of the world, which a subclass can
// replace by one that does what buggy code would (planted_bugs.ts).

import type { Disk } from "../../src/primary/disk.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import type { ReplicatorRoomOptions } from "../../src/replicator/room_options.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import type { WorldPlan } from "./plan.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimDrive } from "./sim_drive.ts";
import { SimQueue, type SimQueueOptions } from "./sim_queue.ts";

/** Plants none. */
export class Bugs {
  /** The plan of the world: a bug may move into those in which it matters. */
  plan(plan: WorldPlan): WorldPlan {
    return plan;
  }

  queue(options: SimQueueOptions): SimQueue {
    return new SimQueue(options);
  }

  /** The drive as the daemon's metadata sees it. */
  disk(disk: Disk, _drive: SimDrive): Disk {
    return disk;
  }

  store(store: ObjectStore, _scheduler: Scheduler): ObjectStore {
    return store;
  }

  roomOptions(options: ReplicatorRoomOptions): ReplicatorRoomOptions {
    return options;
  }

  /** The memory of a daemon that starts. */
  memory(_views: SharedViews): void {}

  /** A daemon starts; `crashed`: the one before it did not end in order. */
  starts(_drive: SimDrive, _crashed: boolean): void {}

  /** Patches code for the time of a world; gives what undoes it. */
  patch(): () => void {
    return () => {};
  }
}
