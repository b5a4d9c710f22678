// The replicator: takes what the queues captured, in order, to the replica, and copies what they
// could not capture. One commit is under way at a time (committer.ts).
//
//   history whole             collect all there is           publish       logging
//   history ends ahead        collect up to its end          publish       the last consistent checkpoint
//   history ended behind      collect all, copy stale chunks do not        forward part, forward full
//   no chunk is stale         history whole again; what is in the ring now still has to be collected
//                             before anything is published (the floor)
//
// Invariants:
// 1. A published checkpoint holds a prefix of the write history (promise 3): either the ring up to a
//    position before which nothing is missing (shared/history.ts), or up to one that is not before the
//    floor, when every acknowledged write was in the ring at the floor.
// 2. Copies stand in the ring like writes (resync.ts), so order is the ring's, always.
//
// An error that time does not heal (a foreign writer, a contradiction in stored bytes) ends
// replication: from then on writes only mark their chunks and the device goes on locally. While a
// daemon runs the primary's superblock never says `clean` (target/marks.ts says what it does say):
// only a drained stop makes it that, so the next start knows that the replica is behind (promise 5).

import { ReplicaError } from "../base/errors.ts";
import { hitNow } from "../base/failpoints.ts";
import type { Pending } from "../replication/checkpoint_policy.ts";
import { niceFor } from "../replication/courtesy.ts";
import { isLive, isResyncing, type Mode, type ModeEvent, nextMode } from "../replication/mode.ts";
import { ringReplicator } from "../shared/bell.ts";
import { captureWrites } from "../shared/capture_mode.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import { History } from "../shared/history.ts";
import { WORD } from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { ClaimWatch } from "./claim_watch.ts";
import { type Collected, Collector, markStale } from "./collector.ts";
import { Committer } from "./committer.ts";
import { CutClock } from "./cut_clock.ts";
import { HistoryEnd } from "./history_end.ts";
import { LagMeter } from "./lag_meter.ts";
import type { ReplicatorOptions, ReplicatorState } from "./replicator_options.ts";
import { Resync } from "./resync.ts";
import type { BlockRun } from "./zero_runs.ts";

/** While writes are pending the replicator looks at the clock this often. */
const TICK_MS = 20;
/** With nothing pending it is woken by the first write; this only bounds a lost doorbell. */
const IDLE_MS = 1000;

export class Replicator {
  readonly #options: ReplicatorOptions;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #counters: Float64Array;
  readonly #pool: Pool;
  readonly #collector: Collector;
  readonly #committer: Committer;
  readonly #resync: Resync;
  readonly #history: History;
  readonly #end: HistoryEnd;
  readonly #stale: StaleMap;
  readonly #lag: LagMeter;
  readonly #cuts: CutClock;
  readonly #claim: ClaimWatch | null;
  readonly #abandon = new AbortController();
  #state: ReplicatorState = "replicating";
  #mode: Mode;
  #stopping = false;
  /** Units to collect before anything may be published; then publishing is due, even of nothing. */
  #floorUnits = 0;
  #publishDue = false;
  #nice = 0;
  #publishedPosition: number;
  #committedPosition: number;

  constructor(options: ReplicatorOptions) {
    const { views, clock, random, wakeQueues } = options;
    this.#options = options;
    this.#mode = options.mode;
    this.#words = views.words;
    this.#counters = views.counters.subarray(replicatorCounters(views));
    this.#lag = new LagMeter(clock, this.#counters);
    this.#cuts = new CutClock(options);
    this.#history = new History(views);
    this.#stale = new StaleMap(views);
    const pool = new Pool(views);
    this.#pool = pool;
    this.#end = new HistoryEnd(views, pool);
    this.#publishedPosition = this.#committedPosition = pool.tail();
    this.#collector = new Collector(views, pool, options.batchBlocks);
    this.#committer = new Committer({
      ...options,
      pool,
      counters: this.#counters,
      clock,
      random,
      signal: this.#abandon.signal,
      onRetry: (error) => this.storeFails(error),
      onHealed: () => this.storeWorks(),
      onRoom: () => this.#queuesWait() && wakeQueues(),
    });
    this.#resync = new Resync({
      ...options.resync,
      views,
      pool,
      clock,
      wakeQueues,
      onProgress: () => ringReplicator(this.#words),
    });
    const { claim } = options;
    this.#claim = claim && new ClaimWatch(claim, clock, () => ringReplicator(this.#words));
    if (isResyncing(options.mode)) this.#history.endAt(pool.head());
  }

  get state(): ReplicatorState {
    return this.#state;
  }

  /** Every entry of the ring before it is in a published checkpoint. */
  get publishedPosition(): number {
    return this.#publishedPosition;
  }

  /** Every entry of the ring before it is in a published checkpoint or in a staged segment. */
  get committedPosition(): number {
    return this.#committedPosition;
  }

  get mode(): Mode {
    return this.#mode;
  }

  unsettled(): Iterable<BlockRun> {
    return this.#resync.unsettled();
  }

  /** Runs until stop() and everything is on the replica, or abandon(). Rejects only on a bug. */
  async run(): Promise<void> {
    if (isResyncing(this.#mode)) this.#resyncBegins();
    try {
      while (!this.#abandon.signal.aborted) {
        this.#observe();
        this.#heedClaim();
        if (this.#mayEnd()) await this.#resync.readAsideOnceMore();
        if (this.#mayEnd()) break;
        this.#resync.readAsideAgain();
        await this.#step();
      }
    } finally {
      // After a bug, too, the guest's writes go on: no copy holds a lock, or reads into memory that goes.
      await Promise.all([this.#claim?.stop(), this.#resync.stop()]);
    }
    if (!this.#abandon.signal.aborted && isLive(this.#mode)) this.#enter("stopped");
  }

  /** Take everything to the replica, then end run(). To be called when no queue captures any more. */
  stop(): void {
    this.#stopping = true;
    ringReplicator(this.#words);
  }

  /** End run() without waiting for the replica; what is in the pool is only on the primary. */
  abandon(): void {
    this.#abandon.abort();
    ringReplicator(this.#words);
  }

  /** A request to the replica failed and is being repeated. */
  storeFails(error: ReplicaError): void {
    if (this.#state === "replicating" || this.#state === "retrying") this.#enter("retrying", error);
  }

  /** What was repeated has worked. */
  storeWorks(): void {
    if (this.#state === "retrying") this.#enter("replicating");
  }

  /** From now on writes only mark their chunks. */
  pause(): void {
    if (nextMode(this.#mode, "pause") === this.#mode) return;
    captureWrites(this.#options.views, false);
    this.#options.wakeQueues();
    this.#history.endAtHead();
    this.#resync.halt();
    this.#change("pause");
  }

  /** Back to logging, over a resync of what was written meanwhile. */
  resume(): void {
    if (this.#mode !== "paused") return;
    captureWrites(this.#options.views, true);
    this.#resyncBegins("resume");
  }

  /** Copies the whole device. */
  resyncAll(): void {
    if (nextMode(this.#mode, "resync-all") === this.#mode) return;
    const { layout } = this.#options.views;
    this.#stale.mark(0, layout.deviceBlocks);
    this.#history.endAtHead();
    captureWrites(this.#options.views, true);
    this.#resyncBegins("resync-all");
  }

  // ---- one step ----

  async #step(): Promise<void> {
    if (this.#mode === "detached") {
      this.#discard();
      await this.#wait(IDLE_MS, false);
      return;
    }
    const end = this.#history.end();
    if (end < 0) {
      await this.#log(-1);
    } else if (this.#end.isAhead(end, this.#collector.position)) {
      if (this.#mode === "logging") this.#resyncBegins("overflow");
      await this.#log(end);
    } else if (this.#mode === "paused") {
      await this.#wait(IDLE_MS, false);
    } else {
      if (this.#mode === "logging") this.#resyncBegins("overflow");
      await this.#copy();
    }
  }

  /** Commits what the ring has up to `limit`, and publishes it unless the floor is not reached yet. */
  async #log(limit: number): Promise<void> {
    const dueInMs = limit >= 0 || this.#publishDue ? 0 : this.#cuts.dueInMs(this.#pending());
    if (dueInMs === 0 && (this.#collector.ready || this.#publishDue && this.#floorUnits === 0)) {
      await this.#checkpoint(limit, true);
      return;
    }
    const idle = dueInMs === Infinity;
    await this.#wait(Math.min(dueInMs, idle ? IDLE_MS : TICK_MS), idle);
  }

  /** Copies what is stale, and commits what gathers in the ring without publishing it. */
  async #copy(): Promise<void> {
    this.#resync.pump();
    if (this.#stale.count() === 0) {
      this.#complete();
      return;
    }
    const isDue = this.#collector.ready && this.#cuts.isStagedDue(this.#pending());
    if (isDue) await this.#checkpoint(-1, false);
    else await this.#wait(Math.min(TICK_MS, this.#resync.delayMs), false);
  }

  /** No chunk is stale: the ring holds all there is, once the floor is reached. */
  #complete(): void {
    const end = this.#history.end();
    hitNow("resync.before-whole");
    this.#history.makeWhole();
    if (this.#stale.count() !== 0) {
      // Marked before the history was whole, by a queue that saw its old end.
      this.#history.endAt(end);
      return;
    }
    this.#end.forget();
    this.#floorUnits = this.#pool.distance(this.#collector.position, this.#pool.head());
    this.#publishDue = true;
  }

  async #wait(timeoutMs: number, idle: boolean): Promise<void> {
    await this.#options.bell.wait({
      timeoutMs: Math.max(1, timeoutMs),
      idle,
      hasWork: () =>
        this.#mayEnd() || this.#abandon.signal.aborted ||
        (this.#collector.ready && (idle || this.#urgent())),
    });
  }

  #mayEnd(): boolean {
    if (!this.#stopping) return false;
    if (this.#mode === "detached") return true;
    const end = this.#history.end();
    if (end >= 0) {
      return this.#mode === "paused" && !this.#end.isAhead(end, this.#collector.position);
    }
    return this.#pool.usedUnits() === 0 && !this.#publishDue;
  }

  #urgent(): boolean {
    return this.#stopping || this.#queuesWait();
  }

  #queuesWait(): boolean {
    return Atomics.load(this.#words, WORD.poolWaiters) > 0;
  }

  #pending(): Pending {
    return {
      oldestAgeMs: this.#lag.waitingMs,
      pendingBytes: this.#pool.usedUnits() * this.#pool.unitBytes,
      urgent: this.#urgent(),
    };
  }

  /** Notes when writes arrive; brings the counters of the lag and this thread's priority up to date. */
  #observe(): void {
    const pool = this.#pool;
    const nice = niceFor(this.#nice, pool.usedUnits() / pool.capacityUnits);
    if (nice !== this.#nice) this.#options.setNice(this.#nice = nice);
    this.#lag.observe(pool.head() !== this.#collector.position, this.#history.isWhole());
  }

  // ---- commits ----

  async #checkpoint(limit: number, mayPublish: boolean): Promise<void> {
    this.#cuts.cut();
    const collected = this.#collector.collect(limit);
    if (mayPublish) this.#floorUnits = Math.max(0, this.#floorUnits - collected.units);
    // The history may end since it was looked at: what was issued after that makes no prefix.
    const isPrefix = !this.#end.isBefore(collected.endPosition);
    const publish = mayPublish && this.#floorUnits === 0 && isPrefix;
    this.#lag.cut();
    const committing = new AbortController();
    const watching = this.#watch(committing.signal);
    try {
      await this.#committer.commit(collected, publish);
      this.#committedPosition = collected.endPosition;
      if (publish) this.#published(collected.endPosition);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      if (error.kind !== "closed") this.#detach(error, collected);
    } finally {
      committing.abort();
      await watching;
      this.#lag.settled();
    }
  }

  /** Keeps observing while a commit is under way, so that the age of what arrives meanwhile is known. */
  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#observe();
      await this.#options.clock.sleep(TICK_MS, signal);
    }
  }

  #published(position: number): void {
    this.#claim?.proven();
    this.#publishedPosition = position;
    if (!this.#publishDue) return;
    this.#publishDue = false;
    this.#lag.caughtUp(this.#history.isWhole());
    if (!this.#history.isWhole()) return; // the pool overflowed again meanwhile
    this.#counters[COUNTER.resyncSinceMs] = 0;
    this.#change("resynced");
  }

  // ---- modes ----

  /** In the present mode, or in the one that `event` leads to. */
  #resyncBegins(event?: ModeEvent): void {
    if (event !== undefined) this.#change(event);
    const counters = this.#counters;
    counters[COUNTER.resyncSinceMs] = this.#options.clock.wallMs();
    counters[COUNTER.resyncFromBytes] = counters[COUNTER.resyncedBytes];
  }

  /** Another writer may have taken the replica while nothing was published. */
  #heedClaim(): void {
    const fenced = this.#claim?.pump() ?? null;
    if (fenced !== null && this.#mode !== "detached") this.#detach(fenced, null);
  }

  /** `failed`: what was collected for the commit that failed. */
  #detach(error: ReplicaError, failed: Collected | null): void {
    const { views, wakeQueues } = this.#options;
    captureWrites(views, false);
    this.#history.endAtHead();
    this.#resync.halt();
    if (failed !== null) markStale(this.#stale, failed.batch);
    this.#mode = nextMode(this.#mode, "detach");
    this.#enter("detached", error);
    this.#discard();
    wakeQueues();
  }

  /** Empties the pool after replication has ended: its blocks are stale from now on. */
  #discard(): void {
    this.#pool.release(this.#collector.discard((block, count) => this.#stale.mark(block, count)));
    if (this.#queuesWait()) this.#options.wakeQueues();
  }

  #change(event: ModeEvent): void {
    const mode = nextMode(this.#mode, event);
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#options.onEvent({ state: this.#state, mode });
    ringReplicator(this.#words);
  }

  #enter(state: ReplicatorState, error?: ReplicaError): void {
    this.#state = state;
    this.#options.onEvent({ state, mode: this.#mode, error });
  }
}
