// Where the effects of a replicator's room come from: time, chance, the primary, the store, memory and
// bells. The real ones are here; the simulator (tests/sim/) brings its own, and so runs the same room.

import { setThreadNice } from "../../ffi/libc.ts";
import { SharedArea } from "../../ffi/memory.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { BlockDevice } from "../primary/block_device.ts";
import { DeviceData } from "../primary/device_data.ts";
import type { Disk } from "../primary/disk.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { openObjectStore, type OpenStoreOptions } from "../replica/open.ts";
import { type Bell, ReplicatorBell } from "../shared/bell.ts";
import { Doorbells } from "../shared/doorbells.ts";
import type { SharedViews } from "../shared/layout.ts";
import { newUuid } from "../base/uuid.ts";
import type { WriterIdentity } from "../format/device_card.ts";
import type { RoomProcess } from "./attach.ts";
import type { LoadVerify } from "./comparison.ts";
import type { ReplicatorRoomOptions } from "./room_options.ts";

/** The primary as the room uses it. */
export interface RoomPrimary {
  readonly disk: Disk;
  /** The device's part, from end to end. */
  data(deviceSizeBytes: number): Pick<DeviceData, "nextData" | "readInto">;
  close(): void;
}

/** Page-aligned memory that stays reachable until it is released. */
export interface RoomMemory {
  readonly bytes: Uint8Array;
  release(): void;
}

export interface RoomSystem {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly process: RoomProcess;
  /** A UUID that nobody else has. */
  newId(): string;
  openPrimary(): Promise<RoomPrimary>;
  openStore(options: Pick<OpenStoreOptions, "access" | "retry" | "onRetry">): Promise<ObjectStore>;
  allocate(sizeBytes: number): RoomMemory;
  /** What wakes the replicator. */
  bell(views: SharedViews): Bell;
  /** What wakes the queues. */
  doorbells(views: SharedViews): Doorbells;
  /** Sets the nice value of this thread. */
  setNice(nice: number): void;
  readonly loadVerify: LoadVerify;
}

export function realRoomSystem(options: ReplicatorRoomOptions): RoomSystem {
  const { primaryPath, bufferedIo, replica, s3, doorbellFds } = options;
  return {
    clock: systemClock,
    random: Math.random,
    process: { host: Deno.hostname(), pid: Deno.pid, boot: bootId(), runs: runsHere },
    newId: newUuid,
    async openPrimary() {
      const disk = await BlockDevice.open(primaryPath, { access: "write", buffered: bufferedIo });
      return {
        disk,
        data: (deviceSizeBytes) => new DeviceData(disk, deviceSizeBytes),
        close: () => disk.close(),
      };
    },
    openStore: (how) => openObjectStore(replica, { ...how, s3 }),
    allocate: (sizeBytes) => SharedArea.allocate(sizeBytes),
    bell: (views) => new ReplicatorBell(views),
    doorbells: (views) => Doorbells.ofEventfds(views, doorbellFds),
    setNice: setThreadNice,
    // When it is wanted: its digests come with node's crypto, which takes longer to load than all the rest.
    loadVerify: () => import("./verify_run.ts").then(({ runVerify }) => runVerify),
  };
}

function bootId(): string {
  return Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
}

/**
 * A daemon's command line names its device. So does that of the command that starts this daemon, which
 * after a reboot may well have the process id that the last daemon had: the boot tells them apart.
 */
export function runsHere({ host, pid, boot }: WriterIdentity, uuid: string): boolean {
  if (host !== Deno.hostname() || (boot !== undefined && boot !== bootId())) return false;
  if (pid === Deno.pid || pid === Deno.ppid) return false;
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(uuid);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // Whatever it is, it can't be told: the card decides.
    if (error instanceof Deno.errors.PermissionDenied) return false;
    throw error;
  }
}
