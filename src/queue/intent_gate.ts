// The gate between the interval lock and the primary (R4): a change passes when the primary's dirty
// map names all of its regions for certain. What that costs once they are named: a few loads.
//
// A tag that does not pass waits. Whoever gets the lock of the page in question - one of the waiting
// tags, of whatever queue - writes it, with everything that anybody wants by then: one write serves
// all that wait (group commit). A tag whose regions lie on several pages waits for one after another.
//
// Invariants:
// 1. A tag that writes a page has exactly that one I/O in flight and stays parked until it is done.
// 2. A change is counted from before it passes until leave(); a tag that waits is not.
// 3. No lost wake-up: a tag is parked before it tries to lock its page; who unlocks a page reads the
//    counts of waiting tags afterwards.
// 4. A page write that fails twice fails the tags of this queue that wait for that page; other queues
//    are woken and try for themselves. It is a flush as well, of which the guest must hear when it fails.
//
// shared/intent_map.ts says why this is right together with the clearing.

import { EIO } from "../../ffi/errno.ts";
import { hitNow } from "../base/failpoints.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import { QUEUE_COUNTER as COUNTER, queueCounters } from "../shared/counters.ts";
import type { Doorbells } from "../shared/doorbells.ts";
import { noteFailedOwnFlush } from "../shared/failed_flush.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import type { RequestQueue } from "./request_queue.ts";
import { Waiters } from "./waiters.ts";

const TRIES = 2;

export interface IntentGateOptions {
  readonly qid: number;
  readonly queue: Pick<RequestQueue, "offsetBytes" | "writePage">;
  readonly views: SharedViews;
  readonly doorbells: Doorbells;
  /** Null: every region was named at the start, and nothing is cleared: the gate is open. */
  readonly dirtyMap: MapPlace | null;
  /** The stage that the handler's complete() passes on to written(). */
  readonly stage: number;
}

export class IntentGate {
  /** 0, or -errno for the tag that retryFront() just gave: it must not go on. */
  verdict = 0;

  readonly #qid: number;
  readonly #queue: Pick<RequestQueue, "offsetBytes" | "writePage">;
  readonly #doorbells: Doorbells;
  readonly #counters: Float64Array;
  readonly #words: Int32Array;
  readonly #map: IntentMap;
  readonly #waiters: Waiters;
  readonly #stage: number;
  readonly #open: boolean;
  readonly #mapOffset: number;
  readonly #copyBytes: number;

  // Per tag.
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #parity: Int32Array;
  /** The page that a parked tag waits for. */
  readonly #page: Int32Array;
  /** Tries of the page write that the tag has in flight; 0: none. */
  readonly #tries: Int32Array;
  readonly #failed: Int32Array;

  constructor(options: IntentGateOptions) {
    const { qid, views, dirtyMap } = options;
    const { depth } = views.layout;
    this.#qid = qid;
    this.#queue = options.queue;
    this.#doorbells = options.doorbells;
    this.#counters = views.counters.subarray(queueCounters(qid));
    this.#words = views.words;
    this.#map = new IntentMap(views);
    this.#waiters = new Waiters(views, qid, "intentWaiters");
    this.#stage = options.stage;
    this.#open = dirtyMap === null;
    this.#mapOffset = dirtyMap?.offsetBytes ?? 0;
    this.#copyBytes = dirtyMap?.copyBytes ?? 0;
    this.#first = new Int32Array(depth);
    this.#last = new Int32Array(depth);
    this.#parity = new Int32Array(depth);
    this.#page = new Int32Array(depth).fill(-1);
    this.#tries = new Int32Array(depth);
    this.#failed = new Int32Array(depth);
  }

  /** Tags that wait. */
  get waiting(): number {
    return this.#waiters.count;
  }

  /** Whether a change of regions `first` to `last` may go to the primary; false: the tag is parked. */
  pass(tag: number, first: number, last: number): boolean {
    if (this.#open) {
      this.#parity[tag] = this.#map.enter(this.#qid);
      return true;
    }
    this.#first[tag] = first;
    this.#last[tag] = last;
    if (this.#enter(tag)) return true;
    this.#counters[COUNTER.intentWaits]++;
    this.#waiters.park(tag);
    this.#write(tag);
    return false;
  }

  /** The change of a tag that passed is captured, or nothing of it is to be captured. */
  leave(tag: number): void {
    this.#map.leave(this.#qid, this.#parity[tag]);
  }

  /** The page write of `tag` has completed: afterwards the handler retries every tag that waits. */
  written(tag: number, res: number): void {
    const page = this.#page[tag];
    if (res < 0) noteFailedOwnFlush(this.#words);
    if (res < 0 && this.#tries[tag] < TRIES) {
      this.#submit(tag, page);
      return;
    }
    hitNow("intent.after-write");
    this.#tries[tag] = 0;
    if (res < 0) this.#failAll(page);
    else this.#map.complete(page);
    this.#map.unlock(page);
    this.#waiters.ringOthers(this.#doorbells);
  }

  /** The tag that waits longest, if it goes on now (see `verdict`); -1: it goes to the end. */
  retryFront(): number {
    const waiters = this.#waiters;
    const tag = waiters.front();
    if (this.#tries[tag] > 0) {
      waiters.rotate();
      return -1;
    }
    if (this.#failed[tag] !== 0) {
      this.#failed[tag] = 0;
      this.#page[tag] = -1;
      this.verdict = -EIO;
      return waiters.unpark();
    }
    if (this.#enter(tag)) {
      this.#page[tag] = -1;
      this.verdict = 0;
      return waiters.unpark();
    }
    waiters.rotate();
    this.#write(tag);
    return -1;
  }

  #enter(tag: number): boolean {
    const map = this.#map;
    const parity = map.enter(this.#qid);
    const page = map.require(this.#first[tag], this.#last[tag]);
    if (page < 0) {
      this.#parity[tag] = parity;
      return true;
    }
    map.leave(this.#qid, parity);
    this.#page[tag] = page;
    return false;
  }

  /** Writes the page that `tag` waits for, unless somebody does already. */
  #write(tag: number): void {
    const page = this.#page[tag];
    if (!this.#map.tryLock(page)) return;
    this.#map.compose(page);
    this.#counters[COUNTER.intentWrites]++;
    this.#submit(tag, page);
  }

  #submit(tag: number, page: number): void {
    this.#tries[tag]++;
    const copy = this.#map.composedCopy(page);
    const queue = this.#queue;
    queue.offsetBytes[tag] = this.#mapOffset + copy * this.#copyBytes + page * PAGE_BYTES;
    hitNow("intent.before-write");
    queue.writePage(tag, this.#stage, page);
  }

  #failAll(page: number): void {
    for (let tag = 0; tag < this.#page.length; tag++) {
      if (this.#page[tag] === page && this.#tries[tag] === 0) this.#failed[tag] = 1;
    }
  }
}
