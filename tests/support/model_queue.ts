// A stand-in for a queue's TargetQueue: requests come from the test, I/O on a primary in memory takes
// effect and completes in an order that the seed decides, and may fail half way.

import type { RequestQueue } from "../../src/queue/request_queue.ts";
import type { RequestHandler } from "../../src/queue/handler.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { SECTOR } from "../../src/base/units.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { assert } from "./assert.ts";
import type { Prng } from "./prng.ts";
import { type TagRequest, TagTable } from "./tag_table.ts";

const EIO = 5;

interface ModelIo {
  readonly tag: number;
  readonly stage: number;
  /** Bytes done, or -errno. */
  readonly res: number;
  /** Changes the primary or the buffer; null once that is done. */
  effect: (() => void) | null;
}

export class ModelQueue extends TagTable<TagRequest> implements RequestQueue {
  readonly inFlight: ModelIo[] = [];
  readonly results = new Map<number, number>();
  readonly #random: Prng;
  readonly #primary: Uint8Array;
  readonly #memory: Uint8Array;
  readonly #stagingOffset: number;
  /** One change of the primary in so many fails half way; 0: none. */
  readonly #failOneIn: number;
  /** Whether so many reads fail, too. */
  readonly #readsFail: boolean;

  constructor(
    views: SharedViews,
    options: {
      qid: number;
      primary: Uint8Array;
      random: Prng;
      failOneIn: number;
      readsFail?: boolean;
    },
  ) {
    super(views, options.qid);
    this.#stagingOffset = views.layout.stagingOffset;
    this.#random = options.random;
    this.#primary = options.primary;
    this.#memory = views.memory;
    this.#failOneIn = options.failOneIn;
    this.#readsFail = options.readsFail ?? false;
  }

  issue(tag: number, request: TagRequest, handler: RequestHandler): void {
    this.put(tag, request);
    handler.start(tag);
  }

  /** Lets one I/O take effect or complete; false when none is in flight. */
  step(handler: RequestHandler): boolean {
    if (this.inFlight.length === 0) return false;
    const index = this.#random.below(this.inFlight.length);
    const io = this.inFlight[index];
    if (io.effect !== null) {
      io.effect();
      io.effect = null;
      return true;
    }
    this.inFlight.splice(index, 1);
    handler.complete(io.tag, io.stage, io.res);
    return true;
  }

  finish(tag: number, result: number): void {
    this.take(tag);
    this.results.set(result, (this.results.get(result) ?? 0) + 1);
  }

  readPrimary(tag: number, stage: number, skip: number, length: number): void {
    const offset = this.offsetBytes[tag];
    assert(skip + length <= this.strideBytes, "a read fits the tag's buffer");
    assert(offset >= 0 && offset + length <= this.#primary.length, "a read lies on the device");
    this.#submit(tag, stage, length, () => {
      this.buffer(tag).set(this.#primary.subarray(offset, offset + length), skip);
    }, this.#readsFail ? () => {} : null);
  }

  writePrimary(tag: number, stage: number, length: number): void {
    const offset = this.offsetBytes[tag];
    const sectors = length / SECTOR;
    this.#submit(tag, stage, length, () => this.#write(tag, offset, sectors), () => {
      this.#write(tag, offset, this.#random.below(sectors + 1));
    });
  }

  /** The map's place lies on the same primary, behind the device. */
  writePage(tag: number, stage: number, page: number): void {
    const offset = this.offsetBytes[tag];
    const at = this.#stagingOffset + page * PAGE_BYTES;
    const write = (length: number) =>
      this.#primary.set(this.#memory.subarray(at, at + length), offset);
    this.#submit(tag, stage, PAGE_BYTES, () => write(PAGE_BYTES), () => {
      write(this.#random.below(PAGE_BYTES / SECTOR + 1) * SECTOR);
    });
  }

  flushPrimary(tag: number, stage: number): void {
    this.#submit(tag, stage, 0, () => {}, null);
  }

  zeroPrimary(tag: number, stage: number, length: number): void {
    const offset = this.offsetBytes[tag];
    this.#submit(tag, stage, 0, () => this.#primary.fill(0, offset, offset + length), () => {
      const done = this.#random.below(length / SECTOR + 1) * SECTOR;
      this.#primary.fill(0, offset, offset + done);
    });
  }

  #write(tag: number, offset: number, sectors: number): void {
    this.#primary.set(this.buffer(tag).subarray(0, sectors * SECTOR), offset);
  }

  /** `part` is what an I/O that fails leaves behind; null for one that never fails. */
  #submit(
    tag: number,
    stage: number,
    res: number,
    whole: () => void,
    part: (() => void) | null,
  ): void {
    const fails = part !== null && this.#failOneIn > 0 && this.#random.oneIn(this.#failOneIn);
    this.inFlight.push({ tag, stage, res: fails ? -EIO : res, effect: fails ? part : whole });
  }
}
