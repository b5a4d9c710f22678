// A queue room: everything that one queue's thread owns, put together and taken apart in order.
// Called by workers/queue_worker.ts; made from plain data, so that it can be posted to the worker.

import { openLibc, PR_SET_IO_FLUSHER } from "../../ffi/libc.ts";
import { addressOf, SharedArea, type SharedAreaHandle } from "../../ffi/memory.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import { UblkQueue } from "../ublk/queue.ts";
import { Ring } from "../ublk/ring.ts";
import { Doorbells } from "../shared/doorbells.ts";
import { type SharedLayout, sharedViews } from "../shared/layout.ts";
import type { RequestHandler } from "./handler.ts";
import { QueueLoop } from "./loop.ts";
import { LoopHandler } from "./loop_handler.ts";
import { NullHandler } from "./null_handler.ts";
import { ReplicaHandler } from "./replica_handler.ts";
import { TargetQueue } from "./target_queue.ts";

/** What a queue room needs of its target. `counters` is one row of COUNTER_ROW doubles. */
export type QueueTarget =
  | { readonly type: "null"; readonly counters: SharedArrayBuffer }
  | { readonly type: "loop"; readonly counters: SharedArrayBuffer; readonly primaryFd: number }
  | {
    readonly type: "io-replica";
    readonly primaryFd: number;
    /** The memory that all rooms of the device share, and its map. */
    readonly shared: SharedArrayBuffer;
    readonly layout: SharedLayout;
    /** The doorbells of all queues. */
    readonly doorbellFds: readonly number[];
    readonly waitsForRoom: boolean;
    /** Where the primary's dirty map lies; null: all of it was set at the start and stays so. */
    readonly dirtyMap: MapPlace | null;
  };

export interface QueueRoomOptions {
  readonly queueId: number;
  readonly depth: number;
  readonly charDeviceFd: number;
  readonly ioctlEncoded: boolean;
  readonly doorbellFd: number;
  /** LOOP_CONTROL words. */
  readonly control: SharedArrayBuffer;
  /** The tags' buffers, one after the other. */
  readonly buffers: SharedAreaHandle;
  readonly bufferStrideBytes: number;
  readonly target: QueueTarget;
}

export class QueueRoom {
  readonly #ring: Ring;
  readonly #queue: UblkQueue;
  readonly #loop: QueueLoop;
  readonly #buffers: SharedArea;
  /** False when PR_SET_IO_FLUSHER was refused (CAP_SYS_RESOURCE). */
  readonly isIoFlusher: boolean;

  private constructor(
    parts: { ring: Ring; queue: UblkQueue; loop: QueueLoop; buffers: SharedArea },
    isIoFlusher: boolean,
  ) {
    this.#ring = parts.ring;
    this.#queue = parts.queue;
    this.#loop = parts.loop;
    this.#buffers = parts.buffers;
    this.isIoFlusher = isIoFlusher;
  }

  static open(options: QueueRoomOptions): QueueRoom {
    const { depth } = options;
    const isIoFlusher = setIoFlusher();
    const buffers = SharedArea.attach(options.buffers);
    // Each tag has a command and at most two I/Os; then the doorbell.
    const ring = Ring.open({
      entries: depth + 1,
      completionEntries: 3 * depth + 1,
      deferTaskRun: true,
    });
    try {
      const queue = UblkQueue.open({ ...options, ring, bufferAddress: buffers.address });
      const target = openTarget(options.target, ring, queue);
      const handler = openHandler(options.target, target, options.queueId);
      const control = new Int32Array(options.control);
      const { doorbellFd } = options;
      const loop = new QueueLoop({ ring, queue, target, handler, doorbellFd, control });
      return new QueueRoom({ ring, queue, loop, buffers }, isIoFlusher);
    } catch (error) {
      ring.close();
      buffers.release();
      throw error;
    }
  }

  /** Fetches every tag: START_DEV may follow. */
  prime(): void {
    this.#loop.prime();
  }

  /** Blocks the thread until the device stops. */
  run(): void {
    this.#loop.run();
  }

  /**
   * 1. The ring: cancels what is in flight, so that the kernel stops using our memory.
   * 2. The descriptors: DEL_DEV waits for mappings of the char device.
   * 3. The memory, which nobody uses any more.
   */
  close(): void {
    this.#ring.close();
    this.#queue.close();
    this.#loop.close();
    this.#buffers.release();
  }
}

function openTarget(target: QueueTarget, ring: Ring, queue: UblkQueue): TargetQueue {
  const primaryFd = target.type === "null" ? -1 : target.primaryFd;
  if (target.type !== "io-replica") return new TargetQueue({ ring, queue, primaryFd });
  // The memory never moves, and the handler keeps it reachable.
  const { staging } = sharedViews(target.shared, target.layout).intent;
  return new TargetQueue({ ring, queue, primaryFd, stagingAddress: addressOf(staging) });
}

function openHandler(target: QueueTarget, queue: TargetQueue, qid: number): RequestHandler {
  switch (target.type) {
    case "null":
      return new NullHandler(queue, new Float64Array(target.counters));
    case "loop":
      return new LoopHandler(queue, new Float64Array(target.counters));
    case "io-replica": {
      const views = sharedViews(target.shared, target.layout);
      const doorbells = Doorbells.ofEventfds(views, target.doorbellFds);
      return new ReplicaHandler({
        qid,
        queue,
        views,
        doorbells,
        waitsForRoom: target.waitsForRoom,
        dirtyMap: target.dirtyMap,
      });
    }
  }
}

/** Memory reclaim must not wait for I/O that this very thread has to serve. */
function setIoFlusher(): boolean {
  return openLibc().prctl(PR_SET_IO_FLUSHER, 1n, 0n, 0n, 0n) === 0;
}
