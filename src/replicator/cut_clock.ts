// When the next checkpoint is due: what was cut last, and what the guest has asked for since.
// Caller: replicator.ts.

import type { Clock } from "../base/clock.ts";
import {
  checkpointDueInMs,
  type CheckpointLimits,
  isStagedCommitDue,
  type Pending,
} from "../replication/checkpoint_policy.ts";
import { type SharedViews, WORD } from "../shared/layout.ts";

export class CutClock {
  readonly #words: Int32Array;
  readonly #clock: Clock;
  readonly #limits: CheckpointLimits;
  #lastCutMs = -Infinity;
  #flushesCut = 0;

  constructor(
    { views, clock, limits }: { views: SharedViews; clock: Clock; limits: CheckpointLimits },
  ) {
    this.#words = views.words;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** A checkpoint is cut now. */
  cut(): void {
    this.#flushesCut = Atomics.load(this.#words, WORD.guestFlushes);
    this.#lastCutMs = this.#clock.nowMs();
  }

  /** Milliseconds until one is due; Infinity: nothing waits for one. */
  dueInMs(pending: Pending): number {
    return checkpointDueInMs({
      ...pending,
      nowMs: this.#clock.nowMs(),
      guestFlushed: Atomics.load(this.#words, WORD.guestFlushes) !== this.#flushesCut,
      lastCutMs: this.#lastCutMs,
    }, this.#limits);
  }

  /** Whether a commit that will not be published is due. */
  isStagedDue(pending: Pending): boolean {
    return isStagedCommitDue(pending, this.#limits);
  }
}
