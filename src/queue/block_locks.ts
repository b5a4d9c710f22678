// The interval locks of one queue's tags, and the tags that wait for one (R2). A tag that gets its
// lock keeps it until release(), whatever else it waits for meanwhile: everything that it may wait for
// then depends on local I/O or on the replicator, never on another tag's lock.

import type { Doorbells } from "../shared/doorbells.ts";
import { IntervalLock } from "../shared/interval_lock.ts";
import type { SharedViews } from "../shared/layout.ts";
import { Waiters } from "./waiters.ts";

export class BlockLocks {
  /** Per tag: the whole blocks that its request touches. Doubles: there may be more than 2^31. */
  readonly first: Float64Array;
  readonly count: Float64Array;
  readonly #lock: IntervalLock;
  readonly #waiters: Waiters;
  readonly #doorbells: Doorbells;

  constructor(views: SharedViews, qid: number, doorbells: Doorbells) {
    const { depth } = views.layout;
    this.first = new Float64Array(depth);
    this.count = new Float64Array(depth);
    this.#lock = new IntervalLock(views);
    this.#waiters = new Waiters(views, qid, "lockWaiters");
    this.#doorbells = doorbells;
  }

  /** Tags that wait. */
  get waiting(): number {
    return this.#waiters.count;
  }

  /** Takes the lock of the tag's blocks; false: the tag is parked, and the caller retries all. */
  take(tag: number): boolean {
    if (this.#lock.tryLock(this.first[tag], this.count[tag])) return true;
    this.#waiters.park(tag);
    return false;
  }

  /** The tag that waits longest, if it has its lock now; -1: it goes to the end. */
  retryFront(): number {
    const waiters = this.#waiters;
    const tag = waiters.front();
    if (this.#lock.tryLock(this.first[tag], this.count[tag])) return waiters.unpark();
    waiters.rotate();
    return -1;
  }

  /** Wakes other queues that wait; the caller retries its own. */
  release(tag: number): void {
    this.#lock.unlock(this.first[tag], this.count[tag]);
    this.#waiters.ringOthers(this.#doorbells);
  }
}
