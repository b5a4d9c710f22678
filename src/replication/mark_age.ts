// For how long a region keeps its mark in the dirty map after its last write (R5). Short, as a rule: what
// is marked is copied again after a crash. But a mark that is gone when the next write comes makes that
// write wait for the map. Random writes over a large device, each region in turn after some seconds,
// would wait for it for ever; and most of its regions are dirty at any moment, gone marks or not. So
// the age doubles while many marks come back soon, and halves when hardly any do.
//
// Only what twice the age would have kept counts as coming back: where the device is so large that no age
// within reason helps, the age stays short. Pure: time and amounts come in.

/** Of the marks that went, one in so many came back: they go too early. */
const RETURNED_EARLY = 4;
/** Fewer are too few to wait for, or to be kept any longer. */
const RETURNED_SELDOM = 16;
/** Marks that come back by the dozen cost nobody anything. */
const RETURNED_MIN = 64;
/** The longest age, in shortest ones. */
const LONGEST = 64;
/** Rounds have pauses between them. */
const SLACK_MS = 2_000;

/** What became of the marks that one round took off the map. */
export interface MarksGone {
  readonly gone: number;
  /** Those among them that are set again. */
  readonly returned: number;
  /** Since they went. */
  readonly elapsedMs: number;
}

export class MarkAge {
  readonly #shortestMs: number;
  #ms: number;

  constructor(shortestMs: number) {
    this.#shortestMs = shortestMs;
    this.#ms = shortestMs;
  }

  /** A region that no write has touched for so long may lose its mark. */
  get ms(): number {
    return this.#ms;
  }

  judge({ gone, returned, elapsedMs }: MarksGone): void {
    if (gone === 0) return;
    const early = elapsedMs <= 2 * this.#ms + SLACK_MS ? returned : 0;
    if (early >= RETURNED_MIN && early * RETURNED_EARLY >= gone) {
      this.#ms = Math.min(2 * this.#ms, LONGEST * this.#shortestMs);
    } else if (early * RETURNED_SELDOM < gone) {
      this.#ms = Math.max(this.#ms / 2, this.#shortestMs);
    }
  }
}
