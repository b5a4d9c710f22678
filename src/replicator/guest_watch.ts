// Whether the guest works: for copying and comparing, which yield to it.

import { QUEUE_COUNTER, sumQueues } from "../shared/counters.ts";
import type { SharedViews } from "../shared/layout.ts";

export class GuestWatch {
  readonly #views: SharedViews;
  #requests = 0;

  constructor(views: SharedViews) {
    this.#views = views;
  }

  /** Whether the guest had requests served since this was last asked. */
  isBusy(): boolean {
    const requests = sumQueues(this.#views, QUEUE_COUNTER.reads) +
      sumQueues(this.#views, QUEUE_COUNTER.writes);
    const busy = requests !== this.#requests;
    this.#requests = requests;
    return busy;
  }
}
