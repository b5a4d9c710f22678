// Resync: primary -> ring, for what is stale (R9, R10).
//
// A copy is a write that nobody issued: it takes the interval lock of whole chunks, reads what the
// primary holds, puts that into the ring and unlocks. So its place in the ring is right by the same
// argument as a write's (queue/replica_handler.ts), and a newer write is never overwritten: it either
// was read, or comes after the unlock and so stands later in the ring. Holding the lock holds the
// writers of those chunks for as long as a read of the drive takes, never for the replica.
//
//   lock -> clear the bits -> read -> reserve, fill, publish -> lower the count -> unlock
//
// Invariants:
// 1. The count of stale chunks falls only when the copy stands in the ring; what can't be placed there
//    (no room, a failed read) is marked again before that. So nothing leaves the plan unless it is done.
// 2. Nothing here waits while it holds a lock, but for the primary.
// 3. Memory: `concurrency` buffers of a run, taken when resync first runs.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { MiB } from "../base/units.ts";
import type { ResyncPace } from "../replication/resync_pace.ts";
import {
  QUEUE_COUNTER,
  REPLICATOR_COUNTER as COUNTER,
  replicatorCounters,
  sumQueues,
} from "../shared/counters.ts";
import { IntervalLock } from "../shared/interval_lock.ts";
import { type SharedViews, WORD } from "../shared/layout.ts";
import { ENTRY_DATA, ENTRY_ZERO, type Pool } from "../shared/pool.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { type BlockRun, zeroRuns } from "./zero_runs.ts";

const RUN_BYTES = MiB;
/** After a lock that was taken, a full pool or a failed read. */
const RETRY_MS = 5;
const READ_RETRY_MS = 1000;
/** Reads of a run that failed before its blocks are read one by one. */
const RUN_READS = 3;

export interface ResyncSource {
  readInto(offsetBytes: number, into: Uint8Array): Promise<void>;
}

export interface ResyncOptions {
  readonly views: SharedViews;
  readonly pool: Pool;
  readonly source: ResyncSource;
  /** Page-aligned memory that stays reachable. */
  readonly allocate: (sizeBytes: number) => Uint8Array;
  /** Copies at once. */
  readonly concurrency: number;
  readonly pace: ResyncPace;
  readonly clock: Clock;
  readonly wakeQueues: () => void;
  /** Something changed that the replicator wants to look at. */
  readonly onProgress: () => void;
  /** Blocks that the primary can't read: they keep what the replica has. */
  readonly onUnreadable: (block: number, error: unknown) => void;
}

interface Run {
  readonly chunk: number;
  readonly chunks: number;
  readonly firstBlock: number;
  readonly blocks: number;
}

export class Resync {
  readonly #options: ResyncOptions;
  readonly #stale: StaleMap;
  readonly #lock: IntervalLock;
  readonly #counters: Float64Array;
  readonly #runChunks: number;
  /** Units of the pool that copies may fill. */
  readonly #limitUnits: number;
  readonly #buffers: Uint8Array[] = [];
  readonly #copies = new Set<Promise<void>>();
  #cursor = 0;
  #enabled = false;
  #pausedUntilMs = 0;
  #failedReads = 0;
  #guestRequests = 0;

  constructor(options: ResyncOptions) {
    const { views, pool } = options;
    this.#options = options;
    this.#stale = new StaleMap(views);
    this.#lock = new IntervalLock(views);
    this.#counters = views.counters.subarray(replicatorCounters(views));
    this.#limitUnits = Math.floor(pool.capacityUnits * 3 / 4);
    const runUnits = Math.min(RUN_BYTES / pool.unitBytes, Math.floor(pool.capacityUnits / 4));
    this.#runChunks = Math.max(1, Math.floor(runUnits / this.#stale.chunkBlocks));
  }

  get staleChunks(): number {
    return this.#stale.count();
  }

  get active(): number {
    return this.#copies.size;
  }

  /** Milliseconds until pump() can do more; copies that end call onProgress besides. */
  get delayMs(): number {
    const nowMs = this.#options.clock.nowMs();
    return Math.max(RETRY_MS, this.#pausedUntilMs - nowMs, this.#options.pace.delayMs(nowMs));
  }

  /** Begins as many copies as pace, pool and concurrency allow, and goes on by itself when they end. */
  pump(): void {
    this.#enabled = true;
    const { concurrency, clock, pace } = this.#options;
    while (this.#copies.size < concurrency) {
      const nowMs = clock.nowMs();
      if (nowMs < this.#pausedUntilMs || pace.delayMs(nowMs) > 0) return;
      const run = this.#next();
      if (run === null) return;
      pace.began(nowMs, run.blocks * this.#options.pool.unitBytes);
      this.#begin(run);
    }
  }

  /** Begins no more copies until the next pump(). */
  halt(): void {
    this.#enabled = false;
  }

  /** The same, and resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.halt();
    await Promise.all(this.#copies);
  }

  #begin(run: Run): void {
    const copy = this.#copy(run).finally(() => {
      this.#copies.delete(copy);
      if (this.#enabled) this.pump();
      this.#options.onProgress();
    });
    this.#copies.add(copy);
  }

  /** The next run whose lock could be had at once: locked, its bits cleared. Null: none now. */
  #next(): Run | null {
    const stale = this.#stale;
    let wrapped = false;
    while (true) {
      const chunk = stale.next(this.#cursor);
      if (chunk < 0) {
        if (wrapped || this.#cursor === 0) break;
        wrapped = true;
        this.#cursor = 0;
        continue;
      }
      const chunks = stale.runLength(chunk, this.#failedReads > 0 ? 1 : this.#runChunks);
      const run = {
        chunk,
        chunks,
        firstBlock: stale.firstBlock(chunk),
        blocks: stale.blocksOf(chunk, chunks),
      };
      if (!this.#hasRoom(run)) break;
      this.#cursor = chunk + chunks;
      if (!this.#lock.tryLock(run.firstBlock, run.blocks)) continue;
      stale.take(chunk, chunks);
      return run;
    }
    this.#pausedUntilMs = this.#options.clock.nowMs() + RETRY_MS;
    return null;
  }

  #hasRoom(run: Run): boolean {
    const used = this.#options.pool.usedUnits();
    if (used === 0 && this.#copies.size === 0) return true;
    const planned = this.#copies.size * this.#runChunks * this.#stale.chunkBlocks;
    return used + planned + run.blocks <= this.#limitUnits;
  }

  async #copy(run: Run): Promise<void> {
    const { clock, pace, pool } = this.#options;
    const sinceMs = clock.nowMs();
    const buffer = this.#buffers.pop() ?? this.#newBuffer();
    let placed = false;
    try {
      await hit("resync.before-read");
      const bytes = buffer.subarray(0, run.blocks * pool.unitBytes);
      const readable = await this.#read(run, bytes);
      await hit("resync.after-read");
      placed = readable !== null && this.#place(run, bytes, readable);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error; // of a failpoint
    } finally {
      if (!placed) this.#stale.mark(run.firstBlock, run.blocks);
      this.#stale.settle(run.chunks);
      this.#unlock(run);
      this.#buffers.push(buffer);
    }
    if (placed) this.#counters[COUNTER.resyncedBytes] += run.blocks * pool.unitBytes;
    else this.#pausedUntilMs = clock.nowMs() + (this.#failedReads > 0 ? READ_RETRY_MS : RETRY_MS);
    pace.ended(clock.nowMs(), clock.nowMs() - sinceMs, this.#guestIsBusy());
  }

  /** Null when the read failed and is to be repeated; else the runs of blocks that were read. */
  async #read(run: Run, bytes: Uint8Array): Promise<readonly BlockRun[] | null> {
    const { source, pool } = this.#options;
    const unit = pool.unitBytes;
    try {
      await source.readInto(run.firstBlock * unit, bytes);
      this.#failedReads = 0;
      return [{ first: 0, count: run.blocks }];
    } catch (error) {
      this.#counters[COUNTER.resyncErrors]++;
      if (++this.#failedReads < RUN_READS) return null;
      return await this.#readEach(run, bytes, error);
    }
  }

  /** What a drive can't read has no content that a replica could miss: it keeps what it has. */
  async #readEach(run: Run, bytes: Uint8Array, cause: unknown): Promise<readonly BlockRun[]> {
    const { source, pool, onUnreadable } = this.#options;
    const unit = pool.unitBytes;
    const readable: BlockRun[] = [];
    for (let k = 0; k < run.blocks; k++) {
      const block = run.firstBlock + k;
      try {
        await source.readInto(block * unit, bytes.subarray(k * unit, (k + 1) * unit));
        readable.push({ first: k, count: 1 });
      } catch {
        onUnreadable(block, cause);
      }
    }
    this.#failedReads = 0;
    return readable;
  }

  /** Puts what was read into the ring: zeros as ranges, the rest as it is. False: no room. */
  #place(run: Run, bytes: Uint8Array, readable: readonly BlockRun[]): boolean {
    const { pool } = this.#options;
    const unit = pool.unitBytes;
    const runs = readable.flatMap((span) => zeroRuns(bytes, unit, span));
    const units = runs.reduce((sum, { zero, count }) => sum + (zero ? 1 : count), 0);
    if (units === 0) return true;
    if (!pool.reserve(units)) return false;
    let position = pool.reservedAt;
    for (const { zero, first, count } of runs) {
      const block = run.firstBlock + first;
      if (zero) {
        pool.publish(position, ENTRY_ZERO, block, count);
      } else {
        pool.fillFrom(position, bytes.subarray(first * unit, (first + count) * unit));
        pool.publish(position, ENTRY_DATA, block, count);
      }
      position = pool.advance(position, zero ? 1 : count);
    }
    this.#counters[COUNTER.resyncEntries] += runs.length;
    return true;
  }

  #unlock(run: Run): void {
    this.#lock.unlock(run.firstBlock, run.blocks);
    if (Atomics.load(this.#options.views.words, WORD.lockWaiters) > 0) this.#options.wakeQueues();
  }

  #newBuffer(): Uint8Array {
    const { allocate, pool } = this.#options;
    return allocate(this.#runChunks * this.#stale.chunkBlocks * pool.unitBytes);
  }

  /** Whether the guest had requests served since this was last asked. */
  #guestIsBusy(): boolean {
    const { views } = this.#options;
    const requests = sumQueues(views, QUEUE_COUNTER.reads) + sumQueues(views, QUEUE_COUNTER.writes);
    const busy = requests !== this.#guestRequests;
    this.#guestRequests = requests;
    return busy;
  }
}
