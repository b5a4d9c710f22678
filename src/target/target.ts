// What stands behind a ublk device, as src/device/device.ts needs it. One implementation per target type;
// device/start_device.ts chooses by the configuration.

import type { SharedAreaHandle } from "../../ffi/memory.ts";
import type { QueueTarget } from "../queue/room.ts";

/** Where the tags' buffers of one queue lie: tag n's starts at n * strideBytes. */
export interface QueueBuffers {
  readonly area: SharedAreaHandle;
  readonly strideBytes: number;
}

/** What a target learns when the device's queues are about to start. */
export interface TargetStart {
  readonly deviceId: number;
  readonly queues: number;
  readonly depth: number;
  /** One eventfd per queue; whoever adds to it makes the queue's handler look at what it parked. */
  readonly doorbellFds: readonly number[];
}

export interface Target {
  readonly sizeBytes: number;
  /** Smallest that the target takes; the operator may choose greater ones. */
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly rotational: boolean;
  /** Acknowledged writes may be lost in a power cut until they are flushed. */
  readonly volatileCache: boolean;
  readonly zeroing: boolean;
  /** Called once, before the queues start. One that fails leaves nothing running. */
  start?(start: TargetStart): Promise<void>;
  /** Buffers of a queue, for targets that share one memory with them; else the device makes them. */
  queueBuffers?(queueId: number): QueueBuffers;
  /** What the queue's room gets; called after start(). */
  queueTarget(queueId: number): QueueTarget;
  /** Called once a stop has begun and requests still come: nothing may stay parked from here on. */
  stopping?(): void;
  /**
   * The block device is gone and no queue runs: bring everything to rest. Not called when start() failed.
   * `served`: the device was there; else nobody can have written to it.
   */
  drain?(how: { readonly served: boolean }): Promise<void>;
  /** Lets go of everything. Called exactly once, whatever happened before. */
  close(): Promise<void>;
}
