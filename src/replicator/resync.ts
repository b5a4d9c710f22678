// Resync: primary -> ring, for what is stale (R9, R10).
//
// A copy is a write that nobody issued: it takes the interval lock of a stretch of the device, reads what
// the primary holds there, puts the stale blocks of it into the ring and unlocks. So its place in the
// ring is right by the same argument as a write's (queue/replica_handler.ts), and a newer write is never
// overwritten: it either was read, or comes after the unlock and so stands later in the ring. Holding the
// lock holds the writers of that stretch for as long as a read of the drive takes, never for the replica.
//
//   lock -> clear the bits -> read -> reserve, fill, publish -> lower the count -> unlock
//
// Invariants:
// 1. The count of stale chunks falls only when the copy stands in the ring; what can't be placed there
//    (no room, a failed read) is marked again before that. So nothing leaves the plan unless it is done,
//    or put aside because the primary can't read it (unreadable_blocks.ts).
// 2. Nothing here waits while it holds a lock, but for the primary.
// 3. Copies take no more than half of the pool, writes all of it: a copy that displaced a write would
//    make another block stale, and resync would not converge under a load that the replica can bear.
// 4. Memory: `concurrency` buffers of a stretch, taken when resync first runs.

import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { KiB } from "../base/units.ts";
import type { ResyncPace } from "../replication/resync_pace.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import { IntervalLock } from "../shared/interval_lock.ts";
import { ENTRY_DATA, ENTRY_ZERO, type Pool } from "../shared/pool.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { GuestWatch } from "./guest_watch.ts";
import { UnreadableBlocks, type UnreadableOptions } from "./unreadable_blocks.ts";
import { type BlockRun, zeroRuns } from "./zero_runs.ts";

/** Longest stretch that is read at once, for the stale blocks in it. */
const STRETCH_BYTES = 512 * KiB;
/** After a lock that was taken or a full pool. */
const RETRY_MS = 5;
/** After a failed read. */
const READ_RETRY_MS = 500;

export interface ResyncSource {
  readInto(offsetBytes: number, into: Uint8Array): Promise<void>;
}

export interface ResyncOptions extends UnreadableOptions {
  readonly pool: Pool;
  /** Copies at once. */
  readonly concurrency: number;
  readonly pace: ResyncPace;
  readonly wakeQueues: () => void;
  /** Something changed that the replicator wants to look at. */
  readonly onProgress: () => void;
}

/** A stretch of the device that begins and ends with stale blocks. */
interface StaleStretch {
  readonly firstBlock: number;
  readonly blocks: number;
  /** The stale ones, relative to the first block. */
  readonly stale: readonly BlockRun[];
  readonly staleBlocks: number;
  readonly staleChunks: number;
}

/** Blocks relative to a stretch's first. */
interface StretchRead {
  readonly readable: readonly BlockRun[];
  readonly failed: readonly BlockRun[];
}

export class Resync {
  readonly #options: ResyncOptions;
  readonly #stale: StaleMap;
  readonly #lock: IntervalLock;
  readonly #guest: GuestWatch;
  readonly #counters: Float64Array;
  readonly #stretchChunks: number;
  /** Units of the pool up to which copies begin. */
  readonly #limitUnits: number;
  readonly #buffers: Uint8Array[] = [];
  readonly #copies = new Map<Promise<void>, BlockRun>();
  #cursor = 0;
  /** Stale chunks of the copies under way: they count as stale, and are not in the map. */
  #takenChunks = 0;
  #enabled = false;
  #isStopping = false;
  #pausedUntilMs = 0;
  readonly #unreadable: UnreadableBlocks;

  constructor(options: ResyncOptions) {
    const { views, pool } = options;
    this.#options = options;
    this.#stale = new StaleMap(views);
    this.#lock = new IntervalLock(views);
    this.#guest = new GuestWatch(views);
    this.#unreadable = new UnreadableBlocks(options);
    this.#counters = views.counters.subarray(replicatorCounters(views));
    this.#limitUnits = Math.floor(pool.capacityUnits / 2);
    const units = Math.min(STRETCH_BYTES / pool.unitBytes, Math.floor(pool.capacityUnits / 4));
    this.#stretchChunks = Math.max(1, Math.floor(units / this.#stale.chunkBlocks));
  }

  /** Milliseconds until pump() can do more; copies that end call onProgress besides. */
  get delayMs(): number {
    const nowMs = this.#options.clock.nowMs();
    return Math.max(RETRY_MS, this.#pausedUntilMs - nowMs, this.#options.pace.delayMs(nowMs));
  }

  /** Begins as many copies as pace, pool and concurrency allow, and goes on by itself when they end. */
  pump(): void {
    this.#enabled = true;
    const { concurrency, clock, pace, pool } = this.#options;
    while (this.#copies.size < concurrency) {
      const nowMs = clock.nowMs();
      if (nowMs < this.#pausedUntilMs || pace.delayMs(nowMs) > 0) return;
      const stretch = this.#next();
      if (stretch === null) return;
      pace.began(nowMs, stretch.blocks * pool.unitBytes);
      this.#begin(stretch);
    }
  }

  /** Begins no more copies until the next pump(). */
  halt(): void {
    this.#enabled = false;
  }

  /** The same, and resolves when nothing is under way; what is put aside stays so. */
  async stop(): Promise<void> {
    this.halt();
    this.#isStopping = true;
    await Promise.all([this.#unreadable.stop(), ...this.#copies.keys()]);
  }

  /** Now and then: looks whether what could not be read can be. */
  readAsideAgain(): void {
    this.#unreadable.pump();
  }

  /** The same before a stop, which is a clean one only when nothing is left that could not be read. */
  async readAsideOnceMore(): Promise<void> {
    await this.#unreadable.lookOnceMore();
  }

  /** What is not stale, and not in the ring yet: it is being copied, or can't be read. */
  *unsettled(): Iterable<BlockRun> {
    yield* this.#copies.values();
    yield* this.#unreadable.aside();
  }

  #begin(stretch: StaleStretch): void {
    const copy = this.#copy(stretch).finally(() => {
      this.#copies.delete(copy);
      if (this.#enabled) this.pump();
      this.#options.onProgress();
    });
    this.#copies.set(copy, { first: stretch.firstBlock, count: stretch.blocks });
  }

  /** The next stretch whose lock could be had at once: locked, its bits cleared. Null: none now. */
  #next(): StaleStretch | null {
    // The map of a large device takes long to be looked through for nothing.
    const stretch = this.#stale.count() > this.#takenChunks ? this.#find() : null;
    if (stretch === null) this.#pausedUntilMs = this.#options.clock.nowMs() + RETRY_MS;
    else this.#takenChunks += stretch.staleChunks;
    return stretch;
  }

  #find(): StaleStretch | null {
    const stale = this.#stale;
    let wrapped = false;
    while (true) {
      const chunk = stale.next(this.#cursor);
      if (chunk < 0) {
        if (wrapped || this.#cursor === 0) return null;
        wrapped = true;
        this.#cursor = 0;
        continue;
      }
      const runs = this.#staleRuns(chunk);
      const last = runs[runs.length - 1];
      const stretch = this.#stretch(runs);
      if (!this.#hasRoom(stretch)) return null;
      this.#cursor = last.first + last.count;
      const { wakeQueues } = this.#options;
      if (!this.#lock.tryLockOrWake(stretch.firstBlock, stretch.blocks, wakeQueues)) continue;
      for (const { first, count } of runs) stale.take(first, count);
      return stretch;
    }
  }

  /** Runs of stale chunks from `chunk` on, as far as one stretch reaches. */
  #staleRuns(chunk: number): BlockRun[] {
    const end = chunk + this.#stretchChunks;
    const runs: BlockRun[] = [];
    for (let first = chunk; first >= 0 && first < end;) {
      const count = this.#stale.runLength(first, end - first);
      // Another room marks meanwhile, nobody else clears: what was found stale still is.
      runs.push({ first, count });
      first = this.#stale.next(first + count);
    }
    return runs;
  }

  #stretch(chunks: readonly BlockRun[]): StaleStretch {
    const map = this.#stale;
    const firstBlock = map.firstBlock(chunks[0].first);
    const stale = chunks.map(({ first, count }) => ({
      first: map.firstBlock(first) - firstBlock,
      count: map.blocksOf(first, count),
    }));
    const last = stale[stale.length - 1];
    return {
      firstBlock,
      blocks: last.first + last.count,
      stale,
      staleBlocks: stale.reduce((sum, { count }) => sum + count, 0),
      staleChunks: chunks.reduce((sum, { count }) => sum + count, 0),
    };
  }

  #hasRoom(stretch: StaleStretch): boolean {
    const used = this.#options.pool.usedUnits();
    if (used === 0 && this.#copies.size === 0) return true;
    const planned = this.#copies.size * this.#stretchChunks * this.#stale.chunkBlocks;
    return used + planned + stretch.staleBlocks <= this.#limitUnits;
  }

  async #copy(stretch: StaleStretch): Promise<void> {
    const { clock, pace, pool, wakeQueues } = this.#options;
    const sinceMs = clock.nowMs();
    const buffer = this.#buffers.pop() ?? this.#newBuffer();
    let placed = false;
    let retryMs = RETRY_MS;
    try {
      await hit("resync.before-read");
      const bytes = buffer.subarray(0, stretch.blocks * pool.unitBytes);
      const { readable, failed } = await this.#read(stretch, bytes);
      await hit("resync.after-read");
      placed = this.#place(stretch.firstBlock, bytes, readable);
      if (placed) this.#markAgain(stretch.firstBlock, failed);
      if (failed.length > 0) retryMs = READ_RETRY_MS;
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error; // of a failpoint
    } finally {
      if (!placed) this.#markAgain(stretch.firstBlock, stretch.stale);
      this.#stale.settle(stretch.staleChunks);
      this.#takenChunks -= stretch.staleChunks;
      this.#lock.unlockAndWake(stretch.firstBlock, stretch.blocks, wakeQueues);
      this.#buffers.push(buffer);
    }
    if (placed) this.#counters[COUNTER.resyncedBytes] += stretch.staleBlocks * pool.unitBytes;
    if (!placed || retryMs > RETRY_MS) this.#pausedUntilMs = clock.nowMs() + retryMs;
    pace.ended(clock.nowMs(), clock.nowMs() - sinceMs, this.#guest.isBusy());
  }

  /** The stale blocks that were read, and those that are to be tried again; others were put aside. */
  async #read(stretch: StaleStretch, bytes: Uint8Array): Promise<StretchRead> {
    const { source, pool } = this.#options;
    try {
      await source.readInto(stretch.firstBlock * pool.unitBytes, bytes);
      this.#unreadable.wereRead(stretch.firstBlock, stretch.stale);
      return { readable: stretch.stale, failed: [] };
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#counters[COUNTER.resyncErrors]++;
      return await this.#readEach(stretch, bytes);
    }
  }

  async #readEach(stretch: StaleStretch, bytes: Uint8Array): Promise<StretchRead> {
    const { source, pool } = this.#options;
    const unit = pool.unitBytes;
    const readable: BlockRun[] = [];
    const failed: BlockRun[] = [];
    for (const k of stretch.stale.flatMap(({ first, count }) => range(first, count))) {
      const block = stretch.firstBlock + k;
      if (this.#isStopping) {
        // A drive that does not read takes seconds for each block to say so.
        failed.push({ first: k, count: 1 });
        continue;
      }
      try {
        await source.readInto(block * unit, bytes.subarray(k * unit, (k + 1) * unit));
        readable.push({ first: k, count: 1 });
      } catch (error) {
        if (!(error instanceof ReplicaError)) throw error;
        if (!await this.#unreadable.failed(block, error)) failed.push({ first: k, count: 1 });
      }
    }
    this.#unreadable.wereRead(stretch.firstBlock, readable);
    return { readable, failed };
  }

  /** Puts what was read into the ring: zeros as ranges, the rest as it is. False: no room. */
  #place(firstBlock: number, bytes: Uint8Array, readable: readonly BlockRun[]): boolean {
    const { pool } = this.#options;
    const unit = pool.unitBytes;
    const runs = readable.flatMap((span) => zeroRuns(bytes, unit, span));
    const units = runs.reduce((sum, { zero, count }) => sum + (zero ? 1 : count), 0);
    if (units === 0) return true;
    if (!pool.reserve(units)) return false;
    let position = pool.reservedAt;
    for (const { zero, first, count } of runs) {
      const block = firstBlock + first;
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

  #markAgain(firstBlock: number, runs: readonly BlockRun[]): void {
    for (const { first, count } of runs) this.#stale.mark(firstBlock + first, count);
  }

  #newBuffer(): Uint8Array {
    const { allocate, pool } = this.#options;
    return allocate(this.#stretchChunks * this.#stale.chunkBlocks * pool.unitBytes);
  }
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, k) => first + k);
}
