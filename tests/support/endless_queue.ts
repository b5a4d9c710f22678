// A ublk queue whose driver never runs out of requests: an answer is at once followed by the next
// request. A NOP of the ring stands for the driver's command, so that the real QueueLoop runs on a
// machine without ublk. Used to measure the I/O path, so it allocates nothing either.

import type { CommandQueue } from "../../src/queue/loop.ts";
import type { RequestSource } from "../../src/queue/target_queue.ts";
import { SECTOR } from "../../src/base/units.ts";
import { IORING_OP_NOP, type Ring } from "../../src/ublk/ring.ts";
import { high32, low32 } from "../../ffi/memory.ts";

const TWO_32 = 2 ** 32;

/** One kind of request: `share` of all, relative to the other kinds. */
export interface RequestKind {
  /** UBLK_IO_OP_* with UBLK_IO_F_* flags. */
  readonly opFlags: number;
  readonly bytes: number;
  readonly share: number;
  /** Requests start at multiples of this. */
  readonly alignBytes: number;
}

export interface EndlessQueueOptions {
  readonly ring: Ring;
  readonly depth: number;
  readonly bufferAddress: bigint;
  readonly bufferStrideBytes: number;
  readonly kinds: readonly RequestKind[];
  /** Requests lie from here on, within `spanBytes`. */
  readonly startBytes: number;
  readonly spanBytes: number;
  /** Called after every answer with the number of answers so far; false: no more requests. */
  readonly onAnswer: (answered: number) => boolean;
}

export class EndlessQueue implements CommandQueue, RequestSource {
  readonly queueId = 0;
  readonly depth: number;
  /** Requests that were answered with an error. */
  errors = 0;
  readonly #options: EndlessQueueOptions;
  readonly #onAnswer: (answered: number) => boolean;
  readonly #ring: Ring;
  #answered = 0;
  #random = 1;

  /** Which kind comes for which of 256 values of a random byte. */
  readonly #choice = new Uint8Array(256);
  readonly #kindOpFlags: Int32Array;
  readonly #kindSectors: Int32Array;
  readonly #kindAlign: Int32Array;
  /** Places where a request of the kind may start. */
  readonly #kindPlaces: Int32Array;

  readonly #tagKind: Uint8Array;
  readonly #tagStartLow: Int32Array;
  readonly #tagStartHigh: Int32Array;
  readonly #bufferLow: Int32Array;
  readonly #bufferHigh: Int32Array;

  constructor(options: EndlessQueueOptions) {
    const { depth, kinds, spanBytes } = options;
    this.depth = depth;
    this.#options = options;
    this.#onAnswer = options.onAnswer;
    this.#ring = options.ring;
    const shares = kinds.reduce((sum, kind) => sum + kind.share, 0);
    let upTo = 0;
    kinds.forEach(({ share }, kind) => {
      const from = upTo;
      upTo += 256 * share / shares;
      this.#choice.fill(kind, Math.round(from), Math.round(upTo));
    });
    this.#kindOpFlags = Int32Array.from(kinds, (kind) => kind.opFlags);
    this.#kindSectors = Int32Array.from(kinds, (kind) => kind.bytes / SECTOR);
    this.#kindAlign = Int32Array.from(kinds, (kind) => kind.alignBytes / SECTOR);
    this.#kindPlaces = Int32Array.from(
      kinds,
      (kind) => Math.floor((spanBytes - kind.bytes) / kind.alignBytes) + 1,
    );
    this.#tagKind = new Uint8Array(depth);
    this.#tagStartLow = new Int32Array(depth);
    this.#tagStartHigh = new Int32Array(depth);
    this.#bufferLow = new Int32Array(depth);
    this.#bufferHigh = new Int32Array(depth);
    for (let tag = 0; tag < depth; tag++) {
      const address = options.bufferAddress + BigInt(tag * options.bufferStrideBytes);
      this.#bufferLow[tag] = low32(address);
      this.#bufferHigh[tag] = high32(address);
    }
  }

  fetch(tag: number, userData: number): void {
    this.#next(tag);
    this.#ring.prepare(IORING_OP_NOP, -1, 0, 0, 0, 0, 0, 0, userData);
  }

  commit(tag: number, result: number, userData: number): void {
    if (result < 0) this.errors++;
    if (this.#onAnswer(++this.#answered)) this.fetch(tag, userData);
  }

  #next(tag: number): void {
    let random = this.#random;
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    this.#random = random;
    const kind = this.#choice[random & 0xff];
    const place = (random >>> 8) % this.#kindPlaces[kind];
    const sector = this.#options.startBytes / SECTOR + place * this.#kindAlign[kind];
    const high = Math.floor(sector / TWO_32);
    this.#tagKind[tag] = kind;
    this.#tagStartHigh[tag] = high;
    this.#tagStartLow[tag] = sector - high * TWO_32;
  }

  opFlags(tag: number): number {
    return this.#kindOpFlags[this.#tagKind[tag]];
  }

  sectorCount(tag: number): number {
    return this.#kindSectors[this.#tagKind[tag]];
  }

  startSectorLow(tag: number): number {
    return this.#tagStartLow[tag];
  }

  startSectorHigh(tag: number): number {
    return this.#tagStartHigh[tag];
  }

  bufferLow(tag: number): number {
    return this.#bufferLow[tag];
  }

  bufferHigh(tag: number): number {
    return this.#bufferHigh[tag];
  }
}
