// Where the effects of the io-replica target come from: time, the primary, the replicator's room and
// bells. The real ones are here; the simulator (tests/sim/) brings its own, and so starts and stops
// the same target.

import { keepSmallPages, populate } from "../../ffi/memory.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { LogConfig } from "../config.ts";
import { BlockDevice, type OpenOptions } from "../primary/block_device.ts";
import type { ReplicatorRoomEvents, ReplicatorRoomOptions } from "../replicator/room_options.ts";
import { Doorbells } from "../shared/doorbells.ts";
import { allocateShared, type SharedLayout, type SharedViews } from "../shared/layout.ts";
import { ReplicatorHandle } from "../workers/replicator_handle.ts";

/** The claimed primary as the target uses it. */
export type TargetPrimary = Pick<
  BlockDevice,
  "name" | "sizeBytes" | "geometry" | "buffered" | "fd" | "read" | "write" | "flush" | "close"
>;

/** The replicator's room, wherever it runs. */
export type ReplicatorControl = Pick<
  ReplicatorHandle,
  "ready" | "ended" | "begin" | "stop" | "abandon" | "order" | "verify"
>;

export interface TargetSystem {
  readonly clock: Clock;
  openPrimary(path: string, options: OpenOptions): Promise<TargetPrimary>;
  /** Zeroed memory that all rooms share. */
  allocateShared(layout: SharedLayout): SharedArrayBuffer;
  /** Before anybody uses the memory: small pages for the tags' buffers, the pool's own at once. */
  prepareMemory(views: SharedViews): Promise<void>;
  doorbells(views: SharedViews, fds: readonly number[]): Doorbells;
  startReplicator(
    options: ReplicatorRoomOptions,
    log: LogConfig,
    events: ReplicatorRoomEvents,
  ): ReplicatorControl;
}

export const realTargetSystem: TargetSystem = {
  clock: systemClock,
  openPrimary: (path, options) => BlockDevice.open(path, options),
  allocateShared,
  prepareMemory,
  doorbells: (views, fds) => Doorbells.ofEventfds(views, fds),
  startReplicator: (options, log, events) => new ReplicatorHandle(options, log, events),
};

/**
 * The tags' buffers stay in small pages. Takes the pool's memory from the system before the first write
 * needs it: a page fault per block costs a fifth of the speed of writes, and reclaim must not wait for a
 * daemon that waits for memory. Where memory is scarce it stays as it is, resident only where it was touched.
 */
async function prepareMemory({ layout, memory }: SharedViews): Promise<void> {
  keepSmallPages(memory.subarray(layout.tagBuffersOffset, layout.unitsOffset));
  const pool = memory.subarray(layout.unitsOffset);
  if (Deno.systemMemoryInfo().available < 2 * pool.byteLength) return;
  await populate(pool);
}
