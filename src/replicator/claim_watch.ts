// Whether the claim on the replica still stands, asked now and then while nothing is published: a commit
// asks by itself, an idle daemon would go on believing in a replica that is another's.
//
// A look is one read of the card. It runs beside everything else, as long as the store takes for it; the
// replicator acts on what it has found between two of its own steps. What is not a plain answer - no
// connection, a card that can't be read - proves nothing: the next look may.
//
// Callers: replicator.ts.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";

/** A read every half a minute costs nothing worth counting, and an operator waits no longer for it. */
export const CLAIM_LOOK_MS = 30_000;

export interface ClaimWatchOptions {
  /** Rejects with `fenced` when the claim is another's. */
  readonly requireHeld: (options: { readonly signal: AbortSignal }) => Promise<void>;
  /** So long after the last proof that the claim stood it is looked at. */
  readonly everyMs: number;
  /** A look proved nothing, for another reason than that it was stopped. */
  readonly onTrouble: (error: ReplicaError) => void;
}

export class ClaimWatch {
  readonly #options: ClaimWatchOptions;
  readonly #clock: Clock;
  readonly #onFenced: () => void;
  readonly #abort = new AbortController();
  #provenMs: number;
  #look: Promise<void> | null = null;
  #fenced: ReplicaError | null = null;

  constructor(options: ClaimWatchOptions, clock: Clock, onFenced: () => void) {
    this.#options = options;
    this.#clock = clock;
    this.#onFenced = onFenced;
    this.#provenMs = clock.nowMs();
  }

  /** The claim stood just now: something was published under it. */
  proven(): void {
    this.#provenMs = this.#clock.nowMs();
  }

  /** Begins a look if it is time for one. Gives the error that names who has taken the replica, once known. */
  pump(): ReplicaError | null {
    const due = this.#clock.nowMs() - this.#provenMs >= this.#options.everyMs;
    if (due && this.#look === null && this.#fenced === null && !this.#abort.signal.aborted) {
      this.#look = this.#lookOnce().finally(() => this.#look = null);
    }
    return this.#fenced;
  }

  /** Resolves when no look is under way, and none will be. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#look;
  }

  async #lookOnce(): Promise<void> {
    const { requireHeld, onTrouble } = this.#options;
    const { signal } = this.#abort;
    try {
      await requireHeld({ signal });
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      if (error.kind === "fenced") {
        this.#fenced = error;
        this.#onFenced();
      } else if (!signal.aborted) {
        onTrouble(error);
      }
    }
    this.proven(); // or not: the next look has time
  }
}
