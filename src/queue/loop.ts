// One queue's event loop. Owns: the only blocking wait of a queue room.
//
// Invariants:
// - a tag is with the driver, with the handler, or aborted; the loop ends by itself when all are
//   aborted and no I/O on the primary is in flight, which is what STOP_DEV brings about;
// - the doorbell's read is always armed, so that the loop can be woken whatever it waits for;
// - after abandon() the loop ends at once, whatever is in flight: only for a start that failed and
//   for a stop that hangs.
//
// One system call per batch: completions are taken from the ring, answers and new I/Os are prepared,
// then one call submits all of them and waits for the next completion.

import { checkResult, errnoError } from "../../ffi/errno.ts";
import { high32, low32, MEMORY_PAGE_BYTES, SharedArea } from "../../ffi/memory.ts";
import type { UblkQueue } from "../ublk/queue.ts";
import { type CqeSink, IORING_OP_READ, isPassingRefusal, type Ring } from "../ublk/ring.ts";
import { UBLK_IO_RES_ABORT, UBLK_IO_RES_OK } from "../ublk/uapi.ts";
import type { RequestHandler } from "./handler.ts";
import { indexOf, KIND_COMMAND, KIND_DOORBELL, KIND_TARGET_IO, kindOf, userData } from "./tag.ts";
import type { TargetQueue } from "./target_queue.ts";

const EVENTFD_BYTES = 8;

/** Words of a queue's control memory, written by the main room before it rings the doorbell. */
export const LOOP_CONTROL = { abandon: 0 } as const;
export const LOOP_CONTROL_BYTES = 64;

/** The part of a ublk queue that is used here: tests stand in for the driver. */
export type CommandQueue = Pick<UblkQueue, "queueId" | "depth" | "fetch">;

export interface QueueLoopOptions {
  readonly ring: Ring;
  readonly queue: CommandQueue;
  readonly target: TargetQueue;
  readonly handler: RequestHandler;
  readonly doorbellFd: number;
  readonly control: Int32Array;
}

export class QueueLoop implements CqeSink {
  readonly #ring: Ring;
  readonly #queue: CommandQueue;
  readonly #target: TargetQueue;
  readonly #handler: RequestHandler;
  readonly #doorbellFd: number;
  readonly #doorbellArea: SharedArea;
  readonly #doorbellLow: number;
  readonly #doorbellHigh: number;
  readonly #control: Int32Array;
  #abortedTags = 0;
  #failure = 0;
  #abandoned = false;

  constructor(options: QueueLoopOptions) {
    this.#ring = options.ring;
    this.#queue = options.queue;
    this.#target = options.target;
    this.#handler = options.handler;
    this.#doorbellFd = options.doorbellFd;
    this.#doorbellArea = SharedArea.allocate(MEMORY_PAGE_BYTES);
    this.#doorbellLow = low32(this.#doorbellArea.address);
    this.#doorbellHigh = high32(this.#doorbellArea.address);
    this.#control = options.control;
  }

  /** Fetches every tag and arms the doorbell. START_DEV completes once all queues have done this. */
  prime(): void {
    for (let tag = 0; tag < this.#queue.depth; tag++) {
      this.#queue.fetch(tag, userData(KIND_COMMAND, tag));
    }
    this.#armDoorbell();
    checkResult(this.#ring.submit(), "submit the first commands of a queue");
    this.#ring.poll();
    this.#ring.forEachCqe(this);
    this.#checkFailure();
  }

  /** Serves requests until the device stops, blocking the thread. */
  run(): void {
    const ring = this.#ring;
    while (!this.#finished()) {
      const taken = ring.submitAndWait(1);
      if (taken < 0) {
        if (!isPassingRefusal(taken)) throw errnoError(-taken, "wait for requests");
        ring.pauseAfter(taken);
        // The doorbell's read may be among what is not submitted.
        this.#heedAbandon();
      }
      ring.forEachCqe(this);
    }
    this.#checkFailure();
  }

  /** Frees the doorbell's memory; only after the ring is closed. */
  close(): void {
    this.#doorbellArea.release();
  }

  onCqe(data: number, res: number): void {
    switch (kindOf(data)) {
      case KIND_COMMAND:
        if (res === UBLK_IO_RES_OK) this.#handler.start(indexOf(data));
        else this.#tagAborted(res);
        return;
      case KIND_TARGET_IO:
        this.#target.completed(indexOf(data), res, this.#handler);
        return;
      default:
        this.#doorbellRang(res);
    }
  }

  #tagAborted(res: number): void {
    this.#abortedTags++;
    if (res !== UBLK_IO_RES_ABORT) this.#fail(res);
  }

  /** The driver or the doorbell broke: nothing can be served any more. */
  #fail(res: number): void {
    if (this.#failure === 0) this.#failure = res;
    this.#abandoned = true;
  }

  #doorbellRang(res: number): void {
    if (res < 0) {
      this.#fail(res);
      return;
    }
    this.#armDoorbell();
    this.#heedAbandon();
    this.#handler.wake();
  }

  #heedAbandon(): void {
    if (Atomics.load(this.#control, LOOP_CONTROL.abandon) !== 0) this.#abandoned = true;
  }

  #armDoorbell(): void {
    this.#ring.prepare(
      IORING_OP_READ,
      this.#doorbellFd,
      0,
      0,
      this.#doorbellLow,
      this.#doorbellHigh,
      EVENTFD_BYTES,
      0,
      userData(KIND_DOORBELL, 0),
    );
  }

  #finished(): boolean {
    if (this.#abandoned) return true;
    return this.#abortedTags === this.#queue.depth && this.#target.inFlight === 0;
  }

  #checkFailure(): void {
    if (this.#failure === 0) return;
    throw errnoError(-this.#failure, "serve requests of the ublk driver", {
      queue: this.#queue.queueId,
    });
  }
}
