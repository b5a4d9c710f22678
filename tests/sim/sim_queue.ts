// A queue of the simulated device: stands in for the ublk driver, the ring and the thread around the
// real ReplicaHandler. Requests come from the guest (guest.ts), I/O goes to the drive.

import { SECTOR } from "../../src/base/units.ts";
import type { RequestHandler } from "../../src/queue/handler.ts";
import type { RequestQueue } from "../../src/queue/request_queue.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { UBLK_IO_OP_WRITE } from "../../src/ublk/uapi.ts";
import { assert } from "../support/assert.ts";
import { type TagRequest, TagTable } from "../support/tag_table.ts";
import type { SimOp } from "./history.ts";
import { CrashHere, type Process } from "./scheduler.ts";
import type { Opening, SimDrive } from "./sim_drive.ts";

export interface SimRequest extends TagRequest {
  /** Null for requests that change nothing. */
  readonly change: SimOp | null;
  answer(result: number): void;
  /** It was answered before its time. */
  early?: boolean;
}

export interface SimQueueOptions {
  readonly qid: number;
  readonly views: SharedViews;
  readonly drive: SimDrive;
  readonly process: Process;
  /** The queues use the drive as the target has opened it. */
  readonly opening: Opening;
  /** The process has run into an armed failpoint. */
  crash(): void;
}

export class SimQueue extends TagTable<SimRequest> implements RequestQueue {
  readonly #options: SimQueueOptions;
  #handler: RequestHandler | null = null;

  constructor(options: SimQueueOptions) {
    super(options.views, options.qid);
    this.#options = options;
  }

  serve(handler: RequestHandler): void {
    this.#handler = handler;
  }

  issue(tag: number, request: SimRequest): void {
    this.put(tag, request);
    this.#enter((handler) => handler.start(tag));
  }

  wake(): void {
    this.#enter((handler) => handler.wake());
  }

  /** Runs the queue's code; a failpoint that kills the process unwinds it. */
  #enter(run: (handler: RequestHandler) => void): void {
    const handler = this.#handler;
    assert(handler !== null, "a queue serves once the device has started");
    try {
      run(handler);
    } catch (error) {
      if (!(error instanceof CrashHere)) throw error;
      this.#options.crash();
    }
  }

  // ---- RequestQueue ----

  finish(tag: number, result: number): void {
    const request = this.take(tag);
    if (!request.early) request.answer(result);
  }

  readPrimary(tag: number, stage: number, skip: number, length: number): void {
    const { drive, process } = this.#options;
    const offset = this.offsetBytes[tag];
    assert(skip + length <= this.strideBytes, "a read fits the tag's buffer");
    assert(offset >= 0 && offset + length <= drive.deviceSizeBytes, "a read lies on the device");
    const into = this.buffer(tag).subarray(skip, skip + length);
    drive.read({ process, offset, into }, this.#completion(tag, stage));
  }

  writePrimary(tag: number, stage: number, length: number, durable: boolean): void {
    const { drive, process } = this.#options;
    const source = this.buffer(tag).subarray(0, length);
    drive.change(
      { process, op: this.#change(tag), source, durable },
      this.#completion(tag, stage),
    );
  }

  writePage(tag: number, stage: number, page: number): void {
    const { drive, process, views, opening } = this.#options;
    const { buffer, byteOffset } = views.intent.staging;
    const source = new Uint8Array(buffer, byteOffset + page * PAGE_BYTES, PAGE_BYTES);
    const offset = this.offsetBytes[tag];
    drive.writeMetadata({ process, offset, source, opening }, this.#completion(tag, stage));
  }

  flushPrimary(tag: number, stage: number): void {
    const { drive, process, opening } = this.#options;
    drive.flush({ process, opening, isGuests: true }, this.#completion(tag, stage));
  }

  zeroPrimary(tag: number, stage: number): void {
    const { drive, process } = this.#options;
    drive.change(
      { process, op: this.#change(tag), source: null, durable: false },
      this.#completion(tag, stage),
    );
  }

  /** For planted bugs: answers the request now, and not when it is really done. */
  protected answerEarly(tag: number): void {
    const request = this.request(tag);
    if (request.early) return;
    request.early = true;
    request.answer(request.sectors * SECTOR);
  }

  /** For planted bugs: an I/O that was never sent. */
  protected completeAtOnce(tag: number, stage: number): void {
    this.#completion(tag, stage)(0);
  }

  #completion(tag: number, stage: number): (res: number) => void {
    return (res) => this.#enter((handler) => handler.complete(tag, stage, res));
  }

  #change(tag: number): SimOp {
    const { change, op, startSector } = this.request(tag);
    assert(change !== null, "only a request that changes something writes to the primary");
    assert(op !== UBLK_IO_OP_WRITE || this.offsetBytes[tag] === startSector * SECTOR, "in place");
    return change;
  }
}
