// Takes marks off the primary's dirty map, lazily (R5): a region that no write has touched for a
// generation (replication/mark_age.ts says how long that is), and of which a published checkpoint has every
// write, is no longer dirty. While a resync runs nothing is published; then staged segments that have every
// write make the region a staged one.
//
//   snapshot --(old changes done, some seconds passed)--> gather regions, note the pool's head
//      --(a published checkpoint covers it)--> flush the primary --> clear and write pages --> again
//      --(staged segments cover it)--> flush the primary --> write the staged map --> the same
//
// Invariants:
// 1. The primary is flushed before a mark goes. Otherwise a power cut could take writes back that the
//    replica has: the primary would be older than its replica in a region that nobody suspects.
// 2. Memory first, then the page: what the primary's map says is never less than what must be dirty.
//    A page write that fails leaves more; the page is written again in the next round.
// 3. A region is gathered when none of its chunks is stale, being copied or unreadable: then every change
//    of it before the snapshot is in the ring before the head. A chunk that becomes stale later belongs
//    to a change that touched its region - or to a new copy of the whole device, which ends the round
//    where the staged map would have to tell.
// 4. A staged mark is durable before the dirty one goes, and names segments that hold all of the region.
//
// shared/intent_map.ts says why racing writers are safe. Callers: the replicator's room.

import { bitRun, countBits } from "../base/bits.ts";
import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import type { Disk } from "../primary/disk.ts";
import { MarkAge } from "../replication/mark_age.ts";
import { IntentMap } from "../shared/intent_map.ts";
import { hasFlushFailed } from "../shared/failed_flush.ts";
import { INTENT_PAGE_WORDS, type SharedViews, WORD } from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { declareDirty, writeComposedPages } from "./intent_pages.ts";
import { RingMark } from "./ring_mark.ts";
import type { StagedChain, StagedMap } from "./staged_map.ts";
import type { BlockRun } from "./zero_runs.ts";

/** A region that was not written for at least so long may be cleared; longer where that is too early. */
const GENERATION_MS = 3_000;
/** While a round is under way; less where generations are short. */
const TICK_MS = 250;
const TICK_MS_MIN = 10;
/** While there is nothing to clear. */
const IDLE_TICKS = 4;
/** Pages whose writers are held back at a time. */
const BATCH_PAGES = 32;

export interface IntentCleanerOptions {
  readonly views: SharedViews;
  readonly disk: Pick<Disk, "write" | "flush">;
  readonly place: MapPlace;
  /** Null: what is only staged stays dirty. */
  readonly staged: StagedMap | null;
  /** What resync reads right now, or can't read. */
  readonly unsettled: () => Iterable<BlockRun>;
  readonly clock: Clock;
  /** Wakes every queue. */
  readonly wakeQueues: () => void;
  /** The primary refused something: the map says more than it must, nothing worse. */
  readonly onTrouble: (error: ReplicaError) => void;
  readonly generationMs?: number;
}

/** How far the replica is. */
export interface Coverage {
  /**
   * Every entry of the ring before it is in a published checkpoint or in a staged segment. It only ever
   * moves forwards. While nothing is staged all of that is published.
   */
  readonly committedPosition: number;
  /** The primary's flush log has the newest published checkpoint. */
  readonly isRecorded: boolean;
  /** The copy of the whole device that is under way; 0: none is. */
  readonly wholeCopy: number;
  /** Null: nothing is staged. */
  readonly chain: StagedChain | null;
  /** Replication has ended because stored bytes contradict themselves. */
  readonly isDamaged: boolean;
}

type Phase =
  | { readonly name: "resting" }
  | { readonly name: "waiting"; readonly parity: number; readonly sinceMs: number }
  | {
    readonly name: "covering";
    readonly mark: RingMark;
    readonly wholeCopy: number;
  }
  /** `chain`: what covers the regions; null: a published checkpoint. */
  | { readonly name: "clearing"; readonly chain: StagedChain | null; nextPage: number };

export class IntentCleaner {
  readonly #options: IntentCleanerOptions;
  readonly #map: IntentMap;
  readonly #pool: Pool;
  readonly #stale: StaleMap;
  readonly #words: Int32Array;
  readonly #shortestMs: number;
  readonly #age: MarkAge;
  /** What this round is about, or the last one was: a bitmap over all pages. */
  readonly #gathered: Int32Array;
  /** When the last round had taken its marks off; null: it did not. */
  #clearedAtMs: number | null = null;
  /** Pages whose bits in memory went, and the primary may not know. */
  readonly #unwritten = new Set<number>();
  #phase: Phase = { name: "resting" };
  /** A flush of the primary failed, here or elsewhere: what is on it is not known any more. */
  #broken = false;

  constructor(options: IntentCleanerOptions) {
    const { views } = options;
    this.#options = options;
    this.#map = new IntentMap(views);
    this.#pool = new Pool(views);
    this.#stale = new StaleMap(views);
    this.#words = views.words;
    this.#shortestMs = options.generationMs ?? GENERATION_MS;
    this.#age = new MarkAge(this.#shortestMs);
    this.#gathered = new Int32Array(this.#map.pages * INTENT_PAGE_WORDS);
  }

  /** Steps until `signal` is aborted. `coverage` tells how far the replica is. */
  async run(coverage: () => Coverage, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const tickMs = Math.min(TICK_MS, Math.max(TICK_MS_MIN, this.#shortestMs / 4));
    while (!signal.aborted && !this.#broken) {
      await this.step(coverage());
      await clock.sleep(this.#phase.name === "resting" ? IDLE_TICKS * tickMs : tickMs, signal);
    }
  }

  /** One step of a round. */
  async step(coverage: Coverage): Promise<void> {
    if (this.#broken) return;
    if (coverage.isDamaged) {
      await this.#distrust();
      return;
    }
    switch (this.#phase.name) {
      case "resting":
        this.#begin(coverage);
        return;
      case "waiting":
        this.#gather(this.#phase, coverage);
        return;
      case "covering":
        await this.#cover(this.#phase, coverage);
        return;
      case "clearing":
        await this.#clear(this.#phase);
    }
  }

  #begin({ wholeCopy }: Coverage): void {
    const idle = this.#map.dirtyCount() === 0 && this.#unwritten.size === 0;
    if (idle && wholeCopy === 0) return;
    const parity = this.#map.beginGeneration();
    this.#phase = { name: "waiting", parity, sinceMs: this.#options.clock.nowMs() };
  }

  #gather(phase: Extract<Phase, { name: "waiting" }>, coverage: Coverage): void {
    if (this.#options.clock.nowMs() - phase.sinceMs < this.#age.ms) return;
    // In this order: who is not counted any more has marked what it did not capture.
    if (this.#map.inFlight(phase.parity) > 0) return;
    const { committedPosition, wholeCopy, chain } = coverage;
    const { staged } = this.#options;
    const mayStage = chain !== null && staged !== null;
    const isResyncing = this.#stale.count() > 0;
    if (isResyncing && !mayStage) return;
    this.#judgeAge();
    // A copy of the whole device copies regions that nobody has written.
    if (mayStage && wholeCopy > 0) this.#gathered.set(staged.lacking(chain));
    else this.#gathered.fill(0);
    this.#map.gatherUntouched(this.#gathered);
    this.#leaveUnsettled(isResyncing);
    const isIdle = isResyncing || this.#unwritten.size === 0;
    if (isIdle && this.#gathered.every((word) => word === 0)) {
      this.#phase = { name: "resting" };
      return;
    }
    const mark = new RingMark(this.#pool, committedPosition);
    this.#phase = { name: "covering", mark, wholeCopy };
  }

  /** Whether the marks that the last round took off went too early. */
  #judgeAge(): void {
    const clearedAtMs = this.#clearedAtMs;
    if (clearedAtMs === null) return;
    this.#clearedAtMs = null;
    const elapsedMs = this.#options.clock.nowMs() - clearedAtMs;
    const gone = this.#gathered.reduce((sum, word) => sum + countBits(word), 0);
    this.#age.judge({ gone, returned: this.#map.countDurable(this.#gathered), elapsedMs });
  }

  /** Regions that the ring does not have all of stay as they are. */
  #leaveUnsettled(isResyncing: boolean): void {
    const stale = this.#stale;
    const regions = new RegionGrid(this.#options.views.layout);
    /** Gives the block from which on others may need to stay: the next region may begin inside it. */
    const leave = (startBlock: number, blockCount: number): number => {
      const last = regions.lastRegion(startBlock + blockCount - 1);
      for (let region = regions.firstRegion(startBlock); region <= last;) {
        const until = Math.min(last + 1, (region | 31) + 1);
        this.#gathered[region >>> 5] &= ~bitRun(region & 31, until - region);
        region = until;
      }
      return regions.firstBlock(last + 1);
    };
    for (const { first, count } of this.#options.unsettled()) leave(first, count);
    // The map of a large device takes long to be looked through for nothing.
    for (let chunk = isResyncing ? stale.next(0) : -1; chunk >= 0;) {
      const count = stale.runLength(chunk, stale.chunkCount);
      const nextBlock = leave(stale.firstBlock(chunk), stale.blocksOf(chunk, count));
      chunk = stale.next(Math.max(chunk + count, Math.floor(nextBlock / stale.chunkBlocks)));
    }
  }

  async #cover(
    phase: Extract<Phase, { name: "covering" }>,
    { committedPosition, isRecorded, wholeCopy, chain }: Coverage,
  ): Promise<void> {
    // Without its record the next start knows what is published by the marks only.
    if (!isRecorded || !phase.mark.isPassedBy(committedPosition)) return;
    if (chain !== null && this.#options.staged === null) return;
    if (chain !== null && wholeCopy !== phase.wholeCopy) {
      this.#phase = { name: "resting" };
      return;
    }
    if (!await this.#flushed()) return;
    this.#phase = { name: "clearing", chain, nextPage: 0 };
  }

  async #flushed(): Promise<boolean> {
    try {
      await hit("intent.before-flush");
      await this.#options.disk.flush();
      return true;
    } catch (error) {
      // A later flush that succeeds says nothing of what one that failed has lost.
      this.#giveUp(error);
      return false;
    }
  }

  async #clear(phase: Extract<Phase, { name: "clearing" }>): Promise<void> {
    // Not right after the flush: a guest's that failed just before it may not have been told yet.
    if (hasFlushFailed(this.#words)) {
      this.#giveUp(flushFailedBefore());
      return;
    }
    const map = this.#map;
    const batch: number[] = [];
    while (phase.nextPage < map.pages && batch.length < BATCH_PAGES) {
      const page = phase.nextPage++;
      if (this.#unwritten.has(page) || this.#hasGathered(page)) batch.push(page);
    }
    if (phase.chain !== null && !await this.#stage(batch, phase.chain)) {
      this.#phase = { name: "resting" };
      return;
    }
    await this.#write(batch.filter((page) => map.wasWritten(page) && this.#clearPage(page)));
    if (phase.nextPage < map.pages) return;
    this.#phase = { name: "resting" };
    // A staged round may have been about regions that had no marks.
    if (phase.chain === null) this.#clearedAtMs = this.#options.clock.nowMs();
  }

  #hasGathered(page: number): boolean {
    const from = page * INTENT_PAGE_WORDS;
    for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
      if (this.#gathered[word] !== 0) return true;
    }
    return false;
  }

  /** False: the staged map does not have the regions, so they stay dirty. */
  async #stage(batch: readonly number[], chain: StagedChain): Promise<boolean> {
    const { staged } = this.#options;
    if (staged === null) return false;
    try {
      const outdated = staged.outdatedBy(chain);
      if (outdated.length > 0) {
        await hit("staged.before-outdated");
        await declareDirty(this.#options, outdated).finally(this.#options.wakeQueues);
      }
      await hit("staged.before-write");
      await staged.add(batch.filter((page) => this.#hasGathered(page)), chain, this.#gathered);
      await hit("staged.after-write");
      return true;
    } catch (error) {
      this.#complain(error);
      return false;
    }
  }

  /** A copy of the whole device that went on with what is damaged would end like this one. */
  async #distrust(): Promise<void> {
    try {
      await this.#options.staged?.distrust();
    } catch (error) {
      this.#complain(error);
    }
  }

  /** True when the page has to be written; it is then locked. */
  #clearPage(page: number): boolean {
    const map = this.#map;
    // A queue writes it, for somebody who touches it: next round.
    if (!map.tryLock(page)) return false;
    if (map.clearUntouched(page, this.#gathered) > 0) this.#unwritten.add(page);
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

  #giveUp(error: unknown): void {
    this.#broken = true;
    this.#complain(error);
  }

  #complain(error: unknown): void {
    if (!(error instanceof ReplicaError)) throw error;
    this.#options.onTrouble(error);
  }
}

function flushFailedBefore(): ReplicaError {
  return new ReplicaError("kernel", "A flush of the primary failed: what it holds is not known", {
    hint: "No mark is taken off the dirty map any more; the next start copies what it names.",
  });
}
