// Where the history's end lies, seen from how far the ring was collected. Positions in the ring come round
// again, so of two of them only the distance says which comes first; an end that was passed is therefore
// remembered as passed, however far the collecting goes on.
//
// Caller: replicator.ts.

import { History } from "../shared/history.ts";
import type { SharedViews } from "../shared/layout.ts";
import type { Pool } from "../shared/pool.ts";

export class HistoryEnd {
  readonly #history: History;
  readonly #pool: Pick<Pool, "distance" | "capacityUnits">;
  #passed = -1;

  constructor(views: SharedViews, pool: Pick<Pool, "distance" | "capacityUnits">) {
    this.#history = new History(views);
    this.#pool = pool;
  }

  /** Whether `end` is still to be collected, by one who has collected up to `position`. */
  isAhead(end: number, position: number): boolean {
    if (!this.#liesAhead(end, position)) this.#passed = end;
    return this.#passed !== end;
  }

  /** Whether the history ends before `position`, up to where has just been collected. */
  isBefore(position: number): boolean {
    const end = this.#history.end();
    return end >= 0 && end !== position && !this.#liesAhead(end, position);
  }

  /** The history is whole again: its next end is another one, wherever it is. */
  forget(): void {
    this.#passed = -1;
  }

  /**
   * An end is never more than a ring ahead of what was collected. Behind it may lie any distance: a queue
   * that is preempted while it ends the history sets an old head.
   */
  #liesAhead(end: number, position: number): boolean {
    const units = this.#pool.distance(position, end);
    return units > 0 && units <= this.#pool.capacityUnits;
  }
}
