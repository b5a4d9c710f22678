// Blocks that the primary can't read. Each is tried a few times and then put aside, so that one bad
// sector does not keep everything else from being published; from then on it is read now and then, and
// copied once that works. Until it is, the replica keeps what it had of it.
//
// Invariants:
// 1. Before a block is put aside, the primary's dirty map names its region for certain, and the cleaner
//    leaves that region alone for as long as it is aside. So no crash forgets it.
// 2. While blocks are aside a stop is not a clean one (target/intents.ts looks at the counter): the next
//    start copies their regions again.
// 3. A block that can be read again is stale before it is not aside any more.
// 4. So many are kept at most; on a drive that reads nothing the others stay stale, and nothing is
//    published.
//
// Caller: resync.ts.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { ringReplicator } from "../shared/bell.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import { History } from "../shared/history.ts";
import type { SharedViews } from "../shared/layout.ts";
import { StaleMap } from "../shared/stale_map.ts";
import type { ResyncSource } from "./resync.ts";
import type { BlockRun } from "./zero_runs.ts";

/** After so many failed reads in a row a block is put aside. */
const READS = 3;
/** Blocks to keep in mind, aside or on the way there. */
const BLOCKS_MAX = 16_384;
/** Until blocks that are aside are read again; doubles so often while none of them can be. */
const LOOK_MS = 60_000;
const DOUBLINGS_MAX = 4;
/** A drive may take seconds to say that it can't read a block: a look ends then, and the next goes on. */
const LOOK_LIMIT_MS = 5_000;
/** How long a dirty map that can't be written is left alone. */
const NAMING_PAUSE_MS = 2_000;

export interface UnreadableOptions {
  readonly views: SharedViews;
  readonly source: ResyncSource;
  /** Page-aligned memory that stays reachable. */
  readonly allocate: (sizeBytes: number) => Uint8Array;
  readonly clock: Clock;
  /** Makes the primary's dirty map name the block's region for certain; rejects when it can't be written. */
  readonly nameRegion: (block: number) => Promise<void>;
  /** A block was put aside: why it can't be read. */
  readonly onUnreadable: (block: number, error: ReplicaError) => void;
  /** So many blocks that were aside can be read again, and will be copied. */
  readonly onReadable: (blocks: number) => void;
  /** Until blocks that were put aside are read again; the usual time if absent. */
  readonly lookMs?: number;
}

export class UnreadableBlocks {
  readonly #options: UnreadableOptions;
  readonly #counters: Float64Array;
  /** Failed reads in a row of blocks that are still to be copied. */
  readonly #failures = new Map<number, number>();
  readonly #aside = new Set<number>();
  readonly #abort = new AbortController();
  #buffer: Uint8Array | null = null;
  #look: Promise<void> | null = null;
  #looksInVain = 0;
  #dueMs = 0;
  #namingDueMs = -Infinity;
  #hadLastLook = false;

  constructor(options: UnreadableOptions) {
    const { views } = options;
    this.#options = options;
    this.#counters = views.counters.subarray(replicatorCounters(views));
  }

  /** What is aside. */
  *aside(): Iterable<BlockRun> {
    for (const first of this.#aside) yield { first, count: 1 };
  }

  /** A stale block could not be read. True: it is aside now; else it stays stale, to be tried again. */
  async failed(block: number, error: ReplicaError): Promise<boolean> {
    if (this.#aside.has(block)) return true;
    const isNew = !this.#failures.has(block);
    if (isNew && this.#aside.size + this.#failures.size >= BLOCKS_MAX) return false;
    const failures = (this.#failures.get(block) ?? 0) + 1;
    this.#failures.set(block, failures);
    const { clock } = this.#options;
    if (failures < READS || clock.nowMs() < this.#namingDueMs) return false;
    try {
      await this.#options.nameRegion(block);
    } catch (cause) {
      if (!(cause instanceof ReplicaError)) throw cause;
      this.#namingDueMs = clock.nowMs() + NAMING_PAUSE_MS;
      return false;
    }
    this.#failures.delete(block);
    if (this.#aside.size === 0) this.#plan(0);
    this.#aside.add(block);
    this.#count();
    this.#options.onUnreadable(block, error);
    return true;
  }

  /** These blocks were read, and are being copied. */
  wereRead(firstBlock: number, runs: readonly BlockRun[]): void {
    if (this.#aside.size + this.#failures.size === 0) return;
    for (const { first, count } of runs) {
      for (let block = firstBlock + first; block < firstBlock + first + count; block++) {
        this.#failures.delete(block);
        this.#aside.delete(block);
      }
    }
    this.#count();
  }

  /** Reads what is aside again when it is time to, beside everything else. */
  pump(): void {
    if (this.#aside.size === 0 || this.#look !== null || this.#abort.signal.aborted) return;
    if (this.#options.clock.nowMs() >= this.#dueMs) this.#beginLook();
  }

  /** Before a stop: a look that is not due yet, once. What can be read by now is stale then. */
  async lookOnceMore(): Promise<void> {
    if (this.#hadLastLook || this.#aside.size === 0 || this.#abort.signal.aborted) return;
    this.#hadLastLook = true;
    await this.#look;
    this.#beginLook();
    await this.#look;
  }

  #beginLook(): void {
    this.#look = this.#lookAgain().finally(() => this.#look = null);
  }

  /** From here on nothing leaves; resolves when no look is under way. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#look;
  }

  async #lookAgain(): Promise<void> {
    const { views, clock, onReadable } = this.#options;
    const readable: number[] = [];
    const sinceMs = clock.nowMs();
    for (const block of [...this.#aside]) {
      const canBeRead = await this.#canRead(block);
      if (this.#abort.signal.aborted) return;
      if (canBeRead) readable.push(block);
      else if (this.#aside.delete(block)) this.#aside.add(block); // to the end: others' turn is next
      if (clock.nowMs() - sinceMs > LOOK_LIMIT_MS) break;
    }
    // A copy may have had some of them meanwhile.
    const left = readable.filter((block) => this.#aside.has(block));
    this.#plan(left.length > 0 ? 0 : this.#looksInVain + 1);
    if (left.length === 0) return;
    const stale = new StaleMap(views);
    for (const block of left) {
      stale.mark(block, 1);
      this.#aside.delete(block);
    }
    this.#count();
    new History(views).endAtHead();
    onReadable(left.length);
    ringReplicator(views.words);
  }

  async #canRead(block: number): Promise<boolean> {
    const { source, allocate, views } = this.#options;
    const { unitBytes } = views.layout;
    this.#buffer ??= allocate(unitBytes);
    try {
      await source.readInto(block * unitBytes, this.#buffer);
      return true;
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      return false;
    }
  }

  #plan(looksInVain: number): void {
    const { clock, lookMs = LOOK_MS } = this.#options;
    this.#looksInVain = looksInVain;
    this.#dueMs = clock.nowMs() + lookMs * 2 ** Math.min(looksInVain, DOUBLINGS_MAX);
  }

  #count(): void {
    this.#counters[COUNTER.unreadableBlocks] = this.#aside.size;
  }
}
