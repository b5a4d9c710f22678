// A primary in memory, formatted: for daemons that run in a test's own process and whose drive is not
// what is tested.

import { systemClock } from "../../src/base/clock.ts";
import { KiB } from "../../src/base/units.ts";
import { newUuid } from "../../src/base/uuid.ts";
import { primaryLayout } from "../../src/format/primary_layout.ts";
import type { Superblock } from "../../src/format/superblock.ts";
import type { Disk } from "../../src/primary/disk.ts";
import { UnfinishedFormat } from "../../src/primary/format_metadata.ts";
import { NewReplica } from "../../src/replica/new_replica.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import type { RoomPrimary } from "../../src/replicator/room_system.ts";
import type { TargetPrimary } from "../../src/target/system.ts";

/** Maps, flush log and superblocks of a small device. */
const METADATA_BYTES = 128 * KiB;

export interface PrimaryShape {
  readonly deviceSizeBytes: number;
  readonly regionBytes: number;
  readonly blockBytes: number;
}

export class MemoryPrimary {
  readonly uuid: string;
  /** Device and metadata, as queues and rooms see them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly disk: Disk;
  readonly #shape: PrimaryShape;

  constructor(shape: PrimaryShape, uuid = newUuid()) {
    this.#shape = shape;
    this.uuid = uuid;
    const bytes = new Uint8Array(shape.deviceSizeBytes + METADATA_BYTES);
    this.bytes = bytes;
    this.disk = {
      name: "memory-primary",
      sizeBytes: bytes.length,
      read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
      write: (offset, data) => Promise.resolve(bytes.set(data, offset)),
      flush: () => Promise.resolve(),
    };
  }

  /** Another drive with the same bytes. */
  copy(): MemoryPrimary {
    const copy = new MemoryPrimary(this.#shape, this.uuid);
    copy.bytes.set(this.bytes);
    return copy;
  }

  /** The device's part. */
  get device(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.#shape.deviceSizeBytes);
  }

  /** What `format` does, with the replica in the store that `openStore` opens. */
  async format(openStore: () => Promise<ObjectStore>): Promise<void> {
    const { deviceSizeBytes, regionBytes, blockBytes } = this.#shape;
    const layout = primaryLayout({
      primarySizeBytes: this.bytes.length,
      deviceSizeBytes,
      regionBytes,
      dataBlockBytes: blockBytes,
    });
    const nowMs = systemClock.wallMs();
    const superblock: Superblock = {
      sequence: 1,
      uuid: this.uuid,
      primarySizeBytes: layout.primarySizeBytes,
      deviceSizeBytes,
      regionBytes,
      hasStagedMap: true,
      metaBlockBytes: blockBytes,
      dataBlockBytes: blockBytes,
      state: "formatting",
      createdMs: nowMs,
      writtenMs: nowMs,
      replicaRoot: "memory",
      claim: null,
    };
    const format = await UnfinishedFormat.begin(this.disk, layout, superblock);
    await new NewReplica({ card: superblock, openStore }).create();
    await format.finish(nowMs);
  }

  /** As the target opens it. */
  forTarget(): TargetPrimary {
    return targetPrimary(this.disk);
  }

  /** As the replicator's room opens it. */
  forRoom(): RoomPrimary {
    const { bytes, disk } = this;
    return {
      disk,
      data: (sizeBytes) => ({
        nextData: (offset) =>
          offset < sizeBytes ? { startBytes: offset, endBytes: sizeBytes } : null,
        readInto(offset, into) {
          into.set(bytes.subarray(offset, offset + into.length));
          return Promise.resolve();
        },
      }),
      close: () => {},
    };
  }
}

/** A disk that is no file, as the target opens a drive: with a volatile cache, 512 bytes a sector. */
export function targetPrimary(disk: Disk): TargetPrimary {
  return {
    ...disk,
    geometry: {
      kind: "block device",
      sizeBytes: disk.sizeBytes,
      logicalBlockBytes: 512,
      physicalBlockBytes: 4096,
      volatileCache: true,
      fua: true,
      rotational: false,
      discardBytesMax: 2 ** 31,
      discardGranularityBytes: 512,
      deviceNumber: "0:0",
      inode: 0,
    },
    buffered: false,
    fd: -1,
    close: () => {},
  };
}
