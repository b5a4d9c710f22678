// Waiting until a published checkpoint holds everything that stood in the ring at a moment.
// Caller: verify_run.ts.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import type { Mode } from "../replication/mode.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import { History } from "../shared/history.ts";
import type { SharedViews } from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { throwIfAborted } from "./primary_digests.ts";
import { RingMark } from "./ring_mark.ts";

const POLL_MS = 10;
/** With nothing published and nothing copied for so long, the wait ends. */
const STALL_MS = 60_000;

/** The replicator as the comparison sees it. */
export interface PublishedState {
  /** Every entry of the ring before it is in a published checkpoint. */
  readonly publishedPosition: number;
  readonly mode: Mode;
}

export interface PublishedOptions {
  readonly views: SharedViews;
  readonly replicator: PublishedState;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called again and again while a wait takes longer. */
  readonly onWait: () => void;
  readonly stallMs?: number;
}

export class Published {
  readonly #options: PublishedOptions;
  readonly #pool: Pool;
  readonly #history: History;
  readonly #stale: StaleMap;
  readonly #counters: Float64Array;

  constructor(options: PublishedOptions) {
    const { views } = options;
    this.#options = options;
    this.#pool = new Pool(views);
    this.#history = new History(views);
    this.#stale = new StaleMap(views);
    this.#counters = views.counters.subarray(replicatorCounters(views));
  }

  /** Resolves when nothing is to be resynced: every write gets to the replica through the ring. */
  async whole(): Promise<void> {
    await this.#until(() => true);
  }

  /** Resolves when a published checkpoint has all that is in the ring now, and nothing is missing. */
  async now(): Promise<void> {
    const { replicator } = this.#options;
    const mark = new RingMark(this.#pool, replicator.publishedPosition);
    await this.#until(() => mark.isPassedBy(replicator.publishedPosition));
  }

  async #until(isCovered: () => boolean): Promise<void> {
    const { clock, signal, onWait, stallMs = STALL_MS } = this.#options;
    let seen = this.#progress();
    let sinceMs = clock.nowMs();
    for (;;) {
      throwIfAborted(signal);
      this.#checkMode();
      if (isCovered() && this.#isWhole()) return;
      const progress = this.#progress();
      if (progress !== seen) sinceMs = clock.nowMs();
      seen = progress;
      if (clock.nowMs() - sinceMs > stallMs) throw this.#stalled();
      onWait();
      await clock.sleep(POLL_MS, signal);
    }
  }

  #isWhole(): boolean {
    return this.#options.replicator.mode === "logging" && this.#history.isWhole();
  }

  #checkMode(): void {
    const { mode } = this.#options.replicator;
    if (mode === "paused") {
      throw new ReplicaError("unavailable", "Cannot compare: replication is paused", {
        hint: 'Run "hyper-io-replica mode set logging" first.',
      });
    }
    if (mode === "detached") {
      throw new ReplicaError("unavailable", "Cannot compare: replication has ended", {
        hint: 'Run "hyper-io-replica status" to see why.',
      });
    }
  }

  #progress(): string {
    const { drainedBytes, lastCno, resyncedBytes } = COUNTER;
    const columns = [drainedBytes, lastCno, resyncedBytes].map((column) => this.#counters[column]);
    return [this.#stale.count(), ...columns].join();
  }

  #stalled(): ReplicaError {
    const why = this.#isWhole() ? "no checkpoint is published" : "a resync is under way";
    return new ReplicaError("unavailable", `Cannot compare: ${why}, and does not advance`, {
      hint: 'Run "hyper-io-replica status" to see what holds it up.',
    });
  }
}
