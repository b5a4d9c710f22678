// A moment in the ring, and whether a position that follows the ring has passed it. Positions wrap, so
// the moment is kept as the units that were still to come.
// Callers: intent_cleaner.ts, published_mark.ts.

import type { Pool } from "../shared/pool.ts";

export class RingMark {
  readonly #pool: Pool;
  #from: number;
  #units: number;

  /** Marks the ring's head, as seen from `position`. */
  constructor(pool: Pool, position: number) {
    this.#pool = pool;
    this.#from = position;
    this.#units = pool.distance(position, pool.head());
  }

  /** `position` only ever moves forwards, by less than the ring from call to call. */
  isPassedBy(position: number): boolean {
    this.#units -= this.#pool.distance(this.#from, position);
    this.#from = position;
    return this.#units <= 0;
  }
}
