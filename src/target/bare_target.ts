// The targets without a replica, in the main room: null (a size and nothing behind it) and loop (one
// block device or file).

import type { LoopTarget, NullTarget } from "../config.ts";
import { usageError } from "../base/errors.ts";
import { formatSize, SECTOR } from "../base/units.ts";
import { BlockDevice } from "../primary/block_device.ts";
import type { DiskGeometry } from "../primary/geometry.ts";
import { QUEUE_COUNTER } from "../shared/counters.ts";
import { COUNTER_ROW } from "../shared/layout.ts";
import type { Target } from "./target.ts";

export interface BareTargetOptions {
  readonly target: NullTarget | LoopTarget;
  /** Null: all that the target has. */
  readonly deviceSizeBytes: number | null;
  /** Size of a null device that is not given one. */
  readonly nullSizeBytes: number;
  readonly readOnly: boolean;
}

/** A target that counts its requests and has nothing else to tell. */
export interface BareTarget extends Target {
  /** Sum over all queues of one column of QUEUE_COUNTER. */
  counter(name: keyof typeof QUEUE_COUNTER): number;
}

/** Opens the target; a usage error when it can't be one. */
export async function openBareTarget(options: BareTargetOptions): Promise<BareTarget> {
  const { target, deviceSizeBytes } = options;
  if (target.type === "null") return nullTarget(deviceSizeBytes ?? options.nullSizeBytes);
  const device = await BlockDevice.open(target.path, {
    access: options.readOnly ? "read" : "write",
    buffered: target.bufferedIo,
    exclusive: !options.readOnly,
  });
  try {
    return loopTarget(device, deviceSizeBytes);
  } catch (error) {
    device.close();
    throw error;
  }
}

function nullTarget(sizeBytes: number): BareTarget {
  const counters = new Counters();
  return {
    sizeBytes,
    logicalBlockBytes: SECTOR,
    physicalBlockBytes: 4096,
    rotational: false,
    volatileCache: false,
    zeroing: true,
    queueTarget: (queueId) => ({ type: "null", counters: counters.row(queueId) }),
    counter: (name) => counters.sum(name),
    close: () => Promise.resolve(),
  };
}

function loopTarget(device: BlockDevice, deviceSizeBytes: number | null): BareTarget {
  const { geometry } = device;
  const counters = new Counters();
  const sizeBytes = deviceSizeBytes ?? geometry.sizeBytes;
  if (sizeBytes > geometry.sizeBytes) {
    throw usageError(
      `Cannot use --device-size ${formatSize(sizeBytes)}: ` +
        `${device.name} has ${formatSize(geometry.sizeBytes)}`,
    );
  }
  return {
    sizeBytes,
    logicalBlockBytes: device.buffered ? SECTOR : geometry.logicalBlockBytes,
    physicalBlockBytes: geometry.physicalBlockBytes,
    rotational: geometry.rotational,
    volatileCache: hasVolatileCache(geometry, device.buffered),
    zeroing: true,
    queueTarget: (queueId) => ({
      type: "loop",
      counters: counters.row(queueId),
      primaryFd: device.fd,
    }),
    counter: (name) => counters.sum(name),
    close() {
      device.close();
      return Promise.resolve();
    },
  };
}

/** With buffered I/O the page cache is one more volatile cache, whatever the drive has. */
function hasVolatileCache(geometry: DiskGeometry, buffered: boolean): boolean {
  return buffered || geometry.volatileCache;
}

class Counters {
  readonly #rows = new Map<number, SharedArrayBuffer>();

  row(queueId: number): SharedArrayBuffer {
    const row = new SharedArrayBuffer(COUNTER_ROW * Float64Array.BYTES_PER_ELEMENT);
    this.#rows.set(queueId, row);
    return row;
  }

  sum(name: keyof typeof QUEUE_COUNTER): number {
    let sum = 0;
    for (const row of this.#rows.values()) sum += new Float64Array(row)[QUEUE_COUNTER[name]];
    return sum;
  }
}
