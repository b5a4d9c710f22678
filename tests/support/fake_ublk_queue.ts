// A ublk queue without a driver: requests are put in by hand, answers are kept. With it the handlers
// run against a real ring and real files on machines without ublk.

import { high32, low32, type SharedArea } from "../../ffi/memory.ts";
import type { RequestHandler } from "../../src/queue/handler.ts";
import { indexOf, KIND_TARGET_IO, kindOf } from "../../src/queue/tag.ts";
import type { RequestSource, TargetQueue } from "../../src/queue/target_queue.ts";
import type { CqeSink, Ring } from "../../src/ublk/ring.ts";
import { assertEquals } from "./assert.ts";

export class FakeUblkQueue implements RequestSource {
  readonly depth: number;
  readonly answers = new Map<number, number>();
  readonly #area: SharedArea;
  readonly #strideBytes: number;
  readonly #opFlags: Int32Array;
  readonly #sectors: Int32Array;
  readonly #start: BigUint64Array;

  constructor(area: SharedArea, depth: number) {
    this.depth = depth;
    this.#area = area;
    this.#strideBytes = area.bytes.length / depth;
    this.#opFlags = new Int32Array(depth);
    this.#sectors = new Int32Array(depth);
    this.#start = new BigUint64Array(depth);
  }

  put(tag: number, request: { opFlags: number; startSector: number; sectors: number }): void {
    this.#opFlags[tag] = request.opFlags;
    this.#sectors[tag] = request.sectors;
    this.#start[tag] = BigInt(request.startSector);
    this.answers.delete(tag);
  }

  buffer(tag: number): Uint8Array {
    return this.#area.bytes.subarray(tag * this.#strideBytes, (tag + 1) * this.#strideBytes);
  }

  opFlags(tag: number): number {
    return this.#opFlags[tag];
  }

  sectorCount(tag: number): number {
    return this.#sectors[tag];
  }

  startSectorLow(tag: number): number {
    return low32(this.#start[tag]);
  }

  startSectorHigh(tag: number): number {
    return high32(this.#start[tag]);
  }

  bufferLow(tag: number): number {
    return low32(this.#area.address + BigInt(tag * this.#strideBytes));
  }

  bufferHigh(tag: number): number {
    return high32(this.#area.address + BigInt(tag * this.#strideBytes));
  }

  commit(tag: number, result: number): void {
    assertEquals(this.answers.has(tag), false, `tag ${tag} is answered once`);
    this.answers.set(tag, result);
  }
}

/** Passes completions on as the loop does, until no I/O is in flight. */
export class CompletionPump implements CqeSink {
  readonly #ring: Ring;
  readonly #target: TargetQueue;
  readonly #handler: RequestHandler;

  constructor(ring: Ring, target: TargetQueue, handler: RequestHandler) {
    this.#ring = ring;
    this.#target = target;
    this.#handler = handler;
  }

  run(): void {
    while (this.#target.inFlight > 0) {
      this.#ring.submitAndWait(1);
      this.#ring.forEachCqe(this);
    }
  }

  onCqe(userData: number, res: number): void {
    assertEquals(kindOf(userData), KIND_TARGET_IO);
    this.#target.completed(indexOf(userData), res, this.#handler);
  }
}
