// Takes marks off the primary's dirty map, lazily (R5): a region that no write has touched for a
// generation, and of which a published checkpoint has every write, is no longer dirty.
//
//   snapshot --(old changes done, some seconds passed)--> note the pool's head
//      --(a published checkpoint covers it)--> flush the primary --> clear and write pages --> again
//
// Invariants:
// 1. The primary is flushed before a mark goes. Otherwise a power cut could take writes back that the
//    replica has: the primary would be older than its replica in a region that nobody suspects.
// 2. Memory first, then the page: what the primary's map says is never less than what must be dirty.
//    A page write that fails leaves more; the page is written again in the next round.
// 3. The pool's head is noted when no chunk is stale: then every change before the snapshot is in the
//    ring. A chunk that becomes stale later belongs to a change that touched its region.
//
// shared/intent_map.ts says why racing writers are safe. Callers: the replicator's room.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import type { Disk } from "../primary/disk.ts";
import { IntentMap } from "../shared/intent_map.ts";
import { type SharedViews, WORD } from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { writeComposedPages } from "./intent_pages.ts";

/** A region that was not written for at least so long may be cleared. */
const GENERATION_MS = 3_000;
/** While a round is under way, and while there is nothing to clear. */
const TICK_MS = 250;
const IDLE_MS = 1_000;
const LOCK_RETRY_MS = 5;
/** Pages whose writers are held back at a time. */
const BATCH_PAGES = 32;

export interface IntentCleanerOptions {
  readonly views: SharedViews;
  readonly disk: Pick<Disk, "write" | "flush">;
  readonly place: MapPlace;
  readonly clock: Clock;
  /** Wakes every queue. */
  readonly wakeQueues: () => void;
  /** The primary refused something: the map says more than it must, nothing worse. */
  readonly onTrouble: (error: ReplicaError) => void;
  readonly generationMs?: number;
}

type Phase =
  | { readonly name: "resting" }
  | { readonly name: "waiting"; readonly parity: number; readonly sinceMs: number }
  /** Units that published checkpoints still have to advance, from `from` on. */
  | { readonly name: "covering"; from: number; units: number }
  | { readonly name: "clearing"; nextPage: number };

export class IntentCleaner {
  readonly #options: IntentCleanerOptions;
  readonly #map: IntentMap;
  readonly #pool: Pool;
  readonly #stale: StaleMap;
  readonly #words: Int32Array;
  readonly #generationMs: number;
  /** Pages whose bits in memory went, and the primary may not know. */
  readonly #unwritten = new Set<number>();
  #phase: Phase = { name: "resting" };
  /** A flush of the primary failed: what is on it is not known any more. */
  #broken = false;

  constructor(options: IntentCleanerOptions) {
    const { views } = options;
    this.#options = options;
    this.#map = new IntentMap(views);
    this.#pool = new Pool(views);
    this.#stale = new StaleMap(views);
    this.#words = views.words;
    this.#generationMs = options.generationMs ?? GENERATION_MS;
  }

  /** Steps until `signal` is aborted. `published` gives the position that the replica has. */
  async run(published: () => number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted && !this.#broken) {
      await this.step({ publishedPosition: published() });
      await clock.sleep(this.#phase.name === "resting" ? IDLE_MS : TICK_MS, signal);
    }
  }

  /**
   * One step of a round. `publishedPosition`: every entry of the ring before it is in a published
   * checkpoint. It only ever moves forwards, and is given in every step.
   */
  async step({ publishedPosition }: { publishedPosition: number }): Promise<void> {
    if (this.#broken) return;
    switch (this.#phase.name) {
      case "resting":
        this.#begin();
        return;
      case "waiting":
        this.#collect(this.#phase, publishedPosition);
        return;
      case "covering":
        if (this.#covered(this.#phase, publishedPosition) && await this.#flushed()) {
          this.#phase = { name: "clearing", nextPage: 0 };
          await this.#clear(this.#phase);
        }
        return;
      case "clearing":
        await this.#clear(this.#phase);
    }
  }

  /**
   * Names regions `first` to `last` for certain: for what was found to differ although nobody wrote. The
   * caller has marked their chunks stale before, so that the marks stay until resync has copied them.
   */
  async name(first: number, last: number): Promise<void> {
    const { disk, place, clock } = this.#options;
    const map = this.#map;
    for (let page = map.require(first, last); page >= 0; page = map.require(first, last)) {
      if (!map.tryLock(page)) {
        await clock.sleep(LOCK_RETRY_MS);
        continue;
      }
      try {
        map.compose(page);
        await writeComposedPages(disk, place, { map, pages: [page] });
        map.complete(page);
      } finally {
        this.#unlock([page]);
      }
    }
  }

  #begin(): void {
    if (this.#map.dirtyCount() === 0 && this.#unwritten.size === 0) return;
    const parity = this.#map.beginGeneration();
    this.#phase = { name: "waiting", parity, sinceMs: this.#options.clock.nowMs() };
  }

  #collect(phase: Extract<Phase, { name: "waiting" }>, publishedPosition: number): void {
    if (this.#options.clock.nowMs() - phase.sinceMs < this.#generationMs) return;
    // In this order: who is not counted any more has marked what it did not capture.
    if (this.#map.inFlight(phase.parity) > 0 || this.#stale.count() > 0) return;
    const units = this.#pool.distance(publishedPosition, this.#pool.head());
    this.#phase = { name: "covering", from: publishedPosition, units };
  }

  #covered(phase: Extract<Phase, { name: "covering" }>, publishedPosition: number): boolean {
    phase.units -= this.#pool.distance(phase.from, publishedPosition);
    phase.from = publishedPosition;
    return phase.units <= 0;
  }

  async #flushed(): Promise<boolean> {
    try {
      await hit("intent.before-flush");
      await this.#options.disk.flush();
      return true;
    } catch (error) {
      // A later flush that succeeds says nothing of what this one lost.
      this.#broken = true;
      this.#complain(error);
      return false;
    }
  }

  async #clear(phase: Extract<Phase, { name: "clearing" }>): Promise<void> {
    const map = this.#map;
    const pages: number[] = [];
    while (phase.nextPage < map.pages && pages.length < BATCH_PAGES) {
      const page = phase.nextPage++;
      if (map.wasWritten(page) && this.#clearPage(page)) pages.push(page);
    }
    await this.#write(pages);
    if (phase.nextPage >= map.pages) this.#phase = { name: "resting" };
  }

  /** True when the page has to be written; it is then locked. */
  #clearPage(page: number): boolean {
    const map = this.#map;
    // A queue writes it, for somebody who touches it: next round.
    if (!map.tryLock(page)) return false;
    if (map.clearUntouched(page) > 0) this.#unwritten.add(page);
    if (this.#unwritten.has(page)) return true;
    this.#unlock([page]);
    return false;
  }

  async #write(pages: readonly number[]): Promise<void> {
    const { disk, place } = this.#options;
    const map = this.#map;
    try {
      for (const page of pages) map.compose(page);
      await hit("intent.before-clear-write");
      await writeComposedPages(disk, place, { map, pages });
      await hit("intent.after-clear-write");
      for (const page of pages) {
        map.complete(page);
        this.#unwritten.delete(page);
      }
    } catch (error) {
      this.#complain(error);
    } finally {
      this.#unlock(pages);
    }
  }

  #unlock(pages: readonly number[]): void {
    for (const page of pages) this.#map.unlock(page);
    if (Atomics.load(this.#words, WORD.intentWaiters) > 0) this.#options.wakeQueues();
  }

  #complain(error: unknown): void {
    if (!(error instanceof ReplicaError)) throw error;
    this.#options.onTrouble(error);
  }
}
