// All queues of a device as the main room sees them. Owns: their doorbells, control words, buffers and
// workers.
//
// Invariant: the memory of a queue that may still run is never released.

import { check } from "../../ffi/errno.ts";
import { EFD_CLOEXEC, openLibc } from "../../ffi/libc.ts";
import { SharedArea } from "../../ffi/memory.ts";
import { ReplicaError } from "../base/errors.ts";
import { roomLog } from "../base/log.ts";
import { within } from "../base/within.ts";
import { LOOP_CONTROL, LOOP_CONTROL_BYTES } from "../queue/loop.ts";
import type { QueueRoomOptions } from "../queue/room.ts";
import { QueueHandle } from "./queue_handle.ts";

/** What a queue's room gets from the device; the rest is the group's. */
export type QueueRoomShape = Omit<QueueRoomOptions, "queueId" | "doorbellFd" | "control">;

export class QueueGroup {
  /** One eventfd per queue. */
  readonly doorbellFds: readonly number[];
  readonly #controls: Int32Array[] = [];
  readonly #areas: SharedArea[] = [];
  readonly #queues: readonly QueueHandle[];
  readonly #log = roomLog("main");

  private constructor(doorbellFds: number[]) {
    this.doorbellFds = doorbellFds;
    this.#queues = doorbellFds.map((_, queueId) => new QueueHandle(queueId));
  }

  /** Makes the doorbells of `count` queues, and workers that load their program from now on. */
  static create(count: number): QueueGroup {
    const fds: number[] = [];
    for (let queueId = 0; queueId < count; queueId++) {
      fds.push(check(openLibc().eventfd(0, EFD_CLOEXEC), "make a doorbell"));
    }
    return new QueueGroup(fds);
  }

  /**
   * Memory for a queue's buffers. Held here and not by the worker alone: the kernel may still write
   * into it when the worker is gone.
   */
  allocate(sizeBytes: number): SharedArea {
    const area = SharedArea.allocate(sizeBytes);
    this.#areas.push(area);
    return area;
  }

  /** Has the workers serve; resolves when every tag of every queue is fetched. */
  async start(shapeOf: (queueId: number) => QueueRoomShape, deadlineMs: number): Promise<void> {
    for (const queue of this.#queues) {
      const { queueId } = queue;
      const control = new SharedArrayBuffer(LOOP_CONTROL_BYTES);
      this.#controls.push(new Int32Array(control));
      const doorbellFd = this.doorbellFds[queueId];
      queue.start({ ...shapeOf(queueId), queueId, doorbellFd, control });
    }
    const ready = await within(Promise.all(this.#queues.map((queue) => queue.ready)), deadlineMs);
    if (ready === "late") {
      throw new ReplicaError("kernel", "Cannot start the device: its queues did not get ready");
    }
    if (ready.some((message) => !message.isIoFlusher)) {
      this.#log.warning("Queues run without PR_SET_IO_FLUSHER: CAP_SYS_RESOURCE is lacking");
    }
  }

  /** Resolves when a queue breaks, with the error, or when all have ended. */
  async firstEnd(): Promise<Error | undefined> {
    const broken = Promise.withResolvers<Error>();
    const ends = this.#queues.map(async (queue) => {
      const error = await queue.ended;
      if (error) broken.resolve(error);
    });
    return await Promise.race([broken.promise, Promise.all(ends).then(() => undefined)]);
  }

  /**
   * Waits until all queues have ended. Those that have not after `patienceMs` are told to abandon
   * their requests; those that do not even then within `deadlineMs` are given up: the result is how
   * many.
   */
  async end(patienceMs: number, deadlineMs: number): Promise<number> {
    this.#queues.forEach((queue) => queue.dismiss());
    const ended = Promise.all(this.#queues.map((queue) => queue.ended));
    if (await within(ended, patienceMs) !== "late") return 0;
    this.#log.warning("Queues do not end by themselves and are told to abandon their requests");
    this.#queues.forEach((queue) => this.#abandon(queue.queueId));
    if (await within(ended, deadlineMs) !== "late") return 0;
    const stuck = this.#queues.filter((queue) => !queue.hasEnded);
    stuck.forEach((queue) => queue.terminate());
    return stuck.length;
  }

  /** Closes the doorbells and, unless a queue had to be given up, lets the memory go. */
  close(): void {
    for (const fd of this.doorbellFds) openLibc().close(fd);
    if (this.#queues.every((queue) => queue.hasEnded)) {
      this.#areas.forEach((area) => area.release());
    }
  }

  #abandon(queueId: number): void {
    Atomics.store(this.#controls[queueId], LOOP_CONTROL.abandon, 1);
    const one = new Uint8Array(new BigUint64Array([1n]).buffer);
    openLibc().write(this.doorbellFds[queueId], one, 8n);
  }
}
