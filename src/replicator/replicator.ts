// The replicator: takes what the queues captured, in order, to the replica.
//
// One checkpoint is under way at a time: collect -> commit on the replica -> flush log on the primary
// -> release the pool's units. So:
// - a published checkpoint holds a prefix of the ring, hence of the write history (promise 3);
// - units are freed only when the replica has them durably: a commit that fails loses nothing, and
//   is tried again with the same bytes for as long as it takes (R19);
// - the order of the three steps is that of R12: a crash between any two is recognised at start-up.
//
// An error that time does not heal (a foreign writer, a contradiction in stored bytes) ends
// replication: capturing stops and the device goes on locally. The primary's superblock says `active`
// for as long as a daemon runs and only a drained stop makes it `clean`, so the next start knows that
// the replica is behind (promise 5).

import type { Clock } from "../base/clock.ts";
import { type ErrorKind, ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { checkpointDueInMs, type CheckpointLimits } from "../replication/checkpoint_policy.ts";
import { niceFor } from "../replication/courtesy.ts";
import type { Bell } from "../shared/bell.ts";
import { captureWrites } from "../shared/capture_mode.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import { type SharedViews, WORD } from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { type Collected, Collector } from "./collector.ts";
import { untilDone } from "./patience.ts";

/** While writes are pending the replicator looks at the clock this often. */
const TICK_MS = 20;
/** With nothing pending it is woken by the first write; this only bounds a lost doorbell. */
const IDLE_MS = 1000;

export interface CommitReceipt {
  readonly cno: number;
  readonly segmentBytes: number;
  readonly putCount: number;
}

/** The replica, as the replicator needs it. commit() may be repeated with the same batch. */
export interface CheckpointWriter {
  commit(batch: CheckpointBatch): Promise<CommitReceipt>;
}

/** The primary's record of what is on the replica. */
export interface CommitJournal {
  /** A checkpoint is on the replica; durable on return. */
  recordCommit(commit: { cno: number; committedMs: number; segmentBytes: number }): Promise<void>;
}

export type ReplicatorState = "replicating" | "retrying" | "detached" | "stopped";

/** What changed, for the log and for `status`. */
export interface ReplicatorEvent {
  readonly state: ReplicatorState;
  /** Why, where an error brought it about. */
  readonly error?: ReplicaError;
}

export interface ReplicatorOptions {
  readonly views: SharedViews;
  readonly writer: CheckpointWriter;
  readonly journal: CommitJournal;
  readonly bell: Bell;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly limits: CheckpointLimits;
  /** Blocks that one checkpoint gathers at most. */
  readonly batchBlocks: number;
  /** Wakes every queue: room in the pool, or capturing has ended. */
  readonly wakeQueues: () => void;
  readonly onEvent: (event: ReplicatorEvent) => void;
  /** Sets the nice value of this thread. */
  readonly setNice: (nice: number) => void;
}

export class Replicator {
  readonly #options: ReplicatorOptions;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #counters: Float64Array;
  readonly #pool: Pool;
  readonly #collector: Collector;
  readonly #bell: Bell;
  readonly #abandon = new AbortController();
  #state: ReplicatorState = "replicating";
  #stopping = false;
  /** Monotonic time at which the oldest entry in no batch was seen; null: there is none. */
  #waitingSinceMs: number | null = null;
  /** The same for the batch being committed. */
  #committingSinceMs: number | null = null;
  #lastCutMs = -Infinity;
  #flushesCut = 0;
  #nice = 0;
  #publishedPosition: number;

  constructor(options: ReplicatorOptions) {
    const { views } = options;
    this.#options = options;
    this.#words = views.words;
    this.#counters = views.counters.subarray(replicatorCounters(views));
    this.#pool = new Pool(views);
    this.#collector = new Collector(views, this.#pool, options.batchBlocks);
    this.#bell = options.bell;
    this.#publishedPosition = this.#pool.tail();
  }

  /** Every entry of the ring before it is in a published checkpoint. */
  get publishedPosition(): number {
    return this.#publishedPosition;
  }

  get state(): ReplicatorState {
    return this.#state;
  }

  /** Runs until stop() and the pool is drained, or abandon(). Rejects only on a bug. */
  async run(): Promise<void> {
    while (!this.#abandon.signal.aborted) {
      this.#observe();
      if (this.#drained()) break;
      await this.#step();
    }
    if (this.#state !== "detached") this.#enter({ state: "stopped" });
  }

  /** Drain what is in the pool, then end run(). To be called when no queue captures any more. */
  stop(): void {
    this.#stopping = true;
    this.#ring();
  }

  /** End run() without waiting for the replica; what is in the pool is only on the primary. */
  abandon(): void {
    this.#abandon.abort();
    this.#ring();
  }

  #ring(): void {
    Atomics.add(this.#words, WORD.replicatorBell, 1);
    Atomics.notify(this.#words, WORD.replicatorBell);
  }

  async #step(): Promise<void> {
    if (this.#state === "detached") {
      this.#discard();
      await this.#bell.wait({
        timeoutMs: IDLE_MS,
        idle: true,
        hasWork: () => this.#drained() || this.#collector.ready,
      });
      return;
    }
    const dueInMs = this.#dueInMs();
    if (dueInMs === 0 && this.#collector.ready) {
      await this.#checkpoint();
      return;
    }
    const idle = dueInMs === Infinity;
    await this.#bell.wait({
      timeoutMs: Math.max(1, Math.min(dueInMs, idle ? IDLE_MS : TICK_MS)),
      idle,
      hasWork: () => this.#drained() || (this.#collector.ready && (idle || this.#urgent())),
    });
  }

  #drained(): boolean {
    return this.#stopping && (this.#state === "detached" || this.#pool.usedUnits() === 0);
  }

  #urgent(): boolean {
    return this.#stopping || this.#queuesWait();
  }

  #queuesWait(): boolean {
    return Atomics.load(this.#words, WORD.poolWaiters) > 0;
  }

  #dueInMs(): number {
    const { clock, limits } = this.#options;
    const nowMs = clock.nowMs();
    return checkpointDueInMs({
      nowMs,
      oldestAgeMs: this.#waitingSinceMs === null ? null : nowMs - this.#waitingSinceMs,
      pendingBytes: this.#pool.usedUnits() * this.#pool.unitBytes,
      guestFlushed: Atomics.load(this.#words, WORD.guestFlushes) !== this.#flushesCut,
      lastCutMs: this.#lastCutMs,
      urgent: this.#urgent(),
    }, limits);
  }

  /** Notes when writes arrive; brings the counters of the lag and this thread's priority up to date. */
  #observe(): void {
    const nice = niceFor(this.#nice, this.#pool.usedUnits() / this.#pool.capacityUnits);
    if (nice !== this.#nice) this.#options.setNice(this.#nice = nice);
    const waiting = this.#pool.head() !== this.#collector.position;
    if (!waiting) this.#waitingSinceMs = null;
    else this.#waitingSinceMs ??= this.#options.clock.nowMs();
    const since = this.#committingSinceMs ?? this.#waitingSinceMs;
    this.#counters[COUNTER.oldestPendingMs] = since === null
      ? 0
      : this.#options.clock.wallMs() - (this.#options.clock.nowMs() - since);
  }

  async #checkpoint(): Promise<void> {
    const { clock } = this.#options;
    this.#flushesCut = Atomics.load(this.#words, WORD.guestFlushes);
    this.#lastCutMs = clock.nowMs();
    const collected = this.#collector.collect();
    this.#committingSinceMs = this.#waitingSinceMs;
    this.#waitingSinceMs = null;
    const committing = new AbortController();
    const watching = this.#watch(committing.signal);
    try {
      const { writer } = this.#options;
      const receipt = await this.#persist("unavailable", () => writer.commit(collected.batch));
      await this.#settle(collected, receipt, clock.nowMs() - this.#lastCutMs);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      if (error.kind !== "closed") this.#detach(error);
    } finally {
      committing.abort();
      await watching;
      this.#committingSinceMs = null;
    }
  }

  /** Keeps observing while a commit is under way, so that the age of what arrives meanwhile is known. */
  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#observe();
      await this.#options.clock.sleep(TICK_MS, signal);
    }
  }

  /** Runs a step of a commit, however often it takes. */
  async #persist<T>(healing: ErrorKind, step: () => Promise<T>): Promise<T> {
    const { clock, random } = this.#options;
    const { signal } = this.#abandon;
    const onRetry = (error: ReplicaError) => {
      this.#counters[COUNTER.commitErrors]++;
      this.#enter({ state: "retrying", error });
    };
    const heals = (error: ReplicaError) => error.kind === healing;
    const result = await untilDone({ clock, random, signal, heals, onRetry }, step);
    if (this.#state === "retrying") this.#enter({ state: "replicating" });
    return result;
  }

  async #settle(collected: Collected, receipt: CommitReceipt, tookMs: number): Promise<void> {
    const { clock, journal } = this.#options;
    const committedMs = clock.wallMs();
    const { cno, segmentBytes } = receipt;
    // Zeros over zeros change nothing: then there is no new checkpoint to record.
    if (cno !== this.#counters[COUNTER.lastCno]) {
      // Without its record no later commit begins: start-up can explain a replica that is one commit
      // ahead of the flush log, not more.
      await this.#persist(
        "kernel",
        () => journal.recordCommit({ cno, committedMs, segmentBytes }),
      );
      this.#counters[COUNTER.checkpoints]++;
    }
    const counters = this.#counters;
    counters[COUNTER.lastCno] = cno;
    counters[COUNTER.lastCommitMs] = committedMs;
    counters[COUNTER.lastCommitTookMs] = tookMs;
    counters[COUNTER.segmentBytes] += segmentBytes;
    counters[COUNTER.putRequests] += receipt.putCount;
    counters[COUNTER.committedBytes] += collected.batch.blockCount * this.#pool.unitBytes;
    counters[COUNTER.committedOperations] += collected.operations;
    counters[COUNTER.drainedBytes] += collected.units * this.#pool.unitBytes;
    this.#publishedPosition = collected.endPosition;
    await hit("commit.before-release");
    this.#release(collected.endPosition);
    await hit("commit.after-release");
  }

  #release(position: number): void {
    this.#pool.release(position);
    if (this.#queuesWait()) this.#options.wakeQueues();
  }

  #detach(error: ReplicaError): void {
    const { views, wakeQueues } = this.#options;
    captureWrites(views, false);
    this.#enter({ state: "detached", error });
    this.#discard();
    wakeQueues();
  }

  /** Empties the pool after replication has ended. */
  #discard(): void {
    let last = this.#collector.collect();
    while (last.operations > 0) last = this.#collector.collect();
    this.#release(last.endPosition);
  }

  #enter(event: ReplicatorEvent): void {
    this.#state = event.state;
    this.#options.onEvent(event);
  }
}
