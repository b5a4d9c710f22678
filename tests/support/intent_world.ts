// The dirty map under queues, a replicator that publishes what it likes, and the cleaner, on a disk
// whose writes may be torn until they are flushed: a world of random steps, decided by its seed.
//
// After every step the world looks at what a power cut would leave of the map. It must name every region
// of a change that was submitted to the primary and is not, for certain, both on the replica (in a
// published checkpoint) and on the primary's stable storage.

import {
  emptyRegionPage,
  REGIONS_PER_PAGE,
  regionsOfPage,
  testRegion,
} from "../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { SECTOR } from "../../src/base/units.ts";
import { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import { IntentCleaner } from "../../src/replicator/intent_cleaner.ts";
import { loadIntents } from "../../src/replicator/intent_pages.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { hasFlushFailed } from "../../src/shared/failed_flush.ts";
import { History } from "../../src/shared/history.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
  WORD,
} from "../../src/shared/layout.ts";
import { ENTRY_EMPTY, ENTRY_ZERO, Pool } from "../../src/shared/pool.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";
import {
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
} from "../../src/ublk/uapi.ts";
import { assert, assertEquals } from "./assert.ts";
import { FakeClock } from "./fake_clock.ts";
import { type Ground, type Request, SECTORS_PER_UNIT, UNIT, WorldQueue } from "./intent_queue.ts";
import { MapDisk } from "./map_disk.ts";
import type { Prng } from "./prng.ts";

const IO_UNITS = 4;
const REPLICATOR = -1;
const PREEMPT_ONE_IN = 40;
const PREEMPTIONS_MAX = 3;
const ZERO_UNITS = 40;
const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";

export interface IntentWorldOptions {
  readonly random: Prng;
  readonly regionCount: number;
  /** One write of a page in so many fails, leaving anything behind; 0: none. */
  readonly failOneIn: number;
  /** Whether that is so for the queues' writes, too: flushes, after which no mark goes any more. */
  readonly queuesFail: boolean;
  /** What a full pool does; false: chunks become stale. */
  readonly waitsForRoom: boolean;
}

export class IntentWorld {
  readonly views: SharedViews;
  readonly map: IntentMap;
  readonly disk: MapDisk;
  readonly #random: Prng;
  readonly #units: number;
  readonly #ground: Ground;
  readonly #queues: { queue: WorldQueue; handler: ReplicaHandler }[] = [];
  readonly #rung = new Set<number>();
  readonly #pool: Pool;
  readonly #stale: StaleMap;
  readonly #history: History;
  readonly #lock: IntervalLock;
  readonly #clock = new FakeClock();
  readonly #cleaner: IntentCleaner;
  readonly #doorbells: Doorbells;
  #cleaning = false;
  #issuing = true;
  /** Threads that are at work, the innermost last: queues by number, and the replicator's. */
  readonly #running: number[] = [];
  #consumed = 0;
  #published = 0;

  constructor(options: IntentWorldOptions) {
    const { random, regionCount, failOneIn, queuesFail, waitsForRoom } = options;
    this.#random = random;
    // A unit, some of them, or a part of one: then units lie across borders.
    const regionSectors = random.pick([8, 8, 24, 3, 11]);
    const queues = 1 + random.below(3);
    const depth = 1 + random.below(6);
    // The last region may be short.
    this.#units = Math.ceil(regionCount * regionSectors / SECTORS_PER_UNIT);
    const layout = sharedLayout({
      queues,
      depth,
      ioBufBytes: IO_UNITS * UNIT,
      unitBytes: UNIT,
      poolBytes: (2 * (IO_UNITS + 2) + random.below(40)) * UNIT,
      regionBytes: regionSectors * SECTOR,
      deviceSizeBytes: this.#units * UNIT,
      chunkBlocksMin: 16,
    });
    this.views = sharedViews(allocateShared(layout), layout);
    this.map = new IntentMap(this.views);
    const place = { offsetBytes: this.#units * UNIT, copyBytes: layout.intentPages * PAGE_BYTES };
    const pages = Array.from({ length: layout.intentPages }, (_, page) =>
      emptyRegionPage({
        uuid: UUID,
        map: "dirty",
        page,
        regionCount: regionsOfPage(layout.regionCount, page),
      }));
    loadIntents(this.views, { pages, doubtful: [] });
    this.disk = new MapDisk({ random, place, pages, staged: (page) => this.map.stagedBytes(page) });
    this.disk.failOneIn = failOneIn;
    this.disk.durableFailOneIn = queuesFail ? failOneIn : 0;
    this.#pool = new Pool(this.views);
    this.#stale = new StaleMap(this.views);
    this.#history = new History(this.views);
    this.#lock = new IntervalLock(this.views);
    this.#ground = { random, disk: this.disk, changes: new Set(), regionSectors };
    this.disk.landed = () => {
      const landed = [...this.#ground.changes].filter((change) => change.landed);
      return () => landed.forEach((change) => change.flushed = true);
    };
    const fds = Array.from({ length: queues }, (_, qid) => qid);
    this.#doorbells = new Doorbells(this.views, fds, (fd) => this.#rung.add(fd));
    for (const qid of fds) {
      const queue = new WorldQueue(this.#ground, depth);
      const { views } = this;
      const doorbells = this.#doorbells;
      const parts = { qid, queue, views, doorbells, waitsForRoom, dirtyMap: place };
      this.#queues.push({ queue, handler: new ReplicaHandler(parts) });
    }
    this.#cleaner = new IntentCleaner({
      views: this.views,
      disk: this.disk,
      place,
      staged: null,
      unsettled: () => [],
      clock: this.#clock,
      wakeQueues: () => this.#doorbells.ringAll(),
      onTrouble: () => {},
      generationMs: 1000,
    });
  }

  get errors(): number {
    return this.#queues.reduce((sum, { queue }) => sum + queue.errors, 0);
  }

  /** Runs `steps` random steps, then until all is quiet and the map empty. */
  async run(steps: number): Promise<void> {
    const { publish } = Pool.prototype;
    const { mark } = StaleMap.prototype;
    const captured = (start: number, units: number, end: number) =>
      this.#queues[this.#running.at(-1) ?? REPLICATOR]?.queue.captured(start, units, end);
    const marked = (start: number, units: number) =>
      this.#queues[this.#running.at(-1) ?? REPLICATOR]?.queue.marked(start, units);
    // The handlers' own code tells what became of a change.
    Pool.prototype.publish = function (position, state, start, units) {
      publish.call(this, position, state, start, units);
      captured(start, units, this.advance(position, state === ENTRY_ZERO ? 1 : units));
    };
    StaleMap.prototype.mark = function (start, units) {
      mark.call(this, start, units);
      marked(start, units);
    };
    try {
      await this.#run(steps);
    } finally {
      Pool.prototype.publish = publish;
      StaleMap.prototype.mark = mark;
    }
  }

  async #run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) await this.#step();
    this.disk.failOneIn = this.disk.durableFailOneIn = 0;
    this.#issuing = false;
    for (let quiet = 0; this.#queues.some(({ queue }) => queue.busy); quiet++) {
      assert(quiet < 20_000, "every request is answered in the end");
      await this.#step();
    }
    const words = [WORD.lockWaiters, WORD.poolWaiters, WORD.intentWaiters];
    assertEquals(words.map((word) => this.views.words[word]), [0, 0, 0]);
    assertEquals([0, 1].map((parity) => this.map.inFlight(parity)), [0, 0]);
    const marksGo = !hasFlushFailed(this.views.words);
    for (let idle = 0; marksGo && this.map.dirtyCount() > 0 || this.#cleaning; idle++) {
      assert(idle < 2_000, "every mark is taken off in the end");
      await this.#step();
    }
    if (marksGo) assertEquals(this.disk.namedRegions(), 0);
    assert(this.views.intent.locks.every((word) => word === 0), "every page is unlocked");
  }

  /** Runs what another thread may do just now: before an atomic operation of the thread at work. */
  preempt(): void {
    if (this.#running.length === 0 || this.#running.length > PREEMPTIONS_MAX) return;
    if (this.#random.oneIn(PREEMPT_ONE_IN)) this.#act();
  }

  async #step(): Promise<void> {
    this.#act();
    // The cleaner's promises go on.
    this.#running.push(REPLICATOR);
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    this.#running.pop();
    this.#check();
  }

  /** One step of a thread that is not at work. */
  #act(): void {
    const choice = this.#random.below(this.#issuing ? 20 : 14);
    const qid = choice >= 6 ? this.#random.below(this.#queues.length) : REPLICATOR;
    if (this.#running.includes(qid)) return;
    this.#running.push(qid);
    if (qid === REPLICATOR) {
      if (choice >= 4) this.#drain();
      else if (choice === 3) this.#resync();
      else this.#clean();
    } else {
      const { queue, handler } = this.#queues[qid];
      if (choice >= 14) queue.issue(this.#request(), handler);
      else if (choice >= 7) queue.step(handler);
      else if (this.#rung.delete(qid)) handler.wake();
    }
    this.#running.pop();
  }

  #request(): Request {
    const op = this.#random.pick([
      UBLK_IO_OP_READ,
      UBLK_IO_OP_FLUSH,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_DISCARD,
    ]);
    if (op === UBLK_IO_OP_FLUSH) return { op, startUnit: 0, units: 0 };
    const { regionSectors } = this.#ground;
    const most = Math.min(this.#units, op === UBLK_IO_OP_DISCARD ? ZERO_UNITS : IO_UNITS);
    const units = 1 + this.#random.below(most);
    // Around the first regions, the border between two pages, and the end.
    const pageUnits = Math.floor(REGIONS_PER_PAGE * regionSectors / SECTORS_PER_UNIT);
    const border = Math.min(pageUnits, this.#units) - 20;
    const base = this.#random.pick([0, Math.max(0, border), Math.max(0, this.#units - 40)]);
    const startUnit = Math.min(base + this.#random.below(40), this.#units - units);
    return { op, startUnit, units };
  }

  /** Takes some entries; publishes as far as the history is whole. */
  #drain(): void {
    const pool = this.#pool;
    for (let left = 1 + this.#random.below(8); left > 0; left--) {
      const state = pool.stateAt(this.#consumed);
      if (state === ENTRY_EMPTY) break;
      const units = state === ENTRY_ZERO ? 1 : pool.blockCountAt(this.#consumed);
      pool.clear(this.#consumed);
      this.#consumed = pool.advance(this.#consumed, units);
    }
    pool.release(this.#consumed);
    if (Atomics.load(this.views.words, WORD.poolWaiters) > 0) this.#doorbells.ringAll();
    const ahead = pool.distance(this.#published, this.#consumed);
    const whole = this.#history.isWhole();
    if (!whole && ahead > pool.distance(this.#published, this.#history.end())) return;
    if (this.#random.oneIn(2)) this.#publish();
  }

  #publish(): void {
    const pool = this.#pool;
    const advance = pool.distance(this.#published, this.#consumed);
    for (const change of this.#ground.changes) {
      if (change.position === null || change.published) continue;
      const needs = pool.distance(this.#published, change.position);
      if (needs <= advance) change.published = true;
    }
    this.#published = this.#consumed;
  }

  /** Copies a stale chunk into the ring; with the last of them the history is whole again. */
  #resync(): void {
    const stale = this.#stale;
    const pool = this.#pool;
    const chunk = stale.next(0);
    if (chunk >= 0) {
      const first = stale.firstBlock(chunk);
      const count = stale.blocksOf(chunk, 1);
      if (!this.#lock.tryLock(first, count)) return;
      if (pool.reserve(1)) {
        stale.take(chunk, 1);
        pool.publish(pool.reservedAt, ENTRY_ZERO, first, count);
        stale.settle(1);
      }
      this.#lock.unlock(first, count);
      if (Atomics.load(this.views.words, WORD.lockWaiters) > 0) this.#doorbells.ringAll();
    }
    if (stale.count() > 0) return;
    for (const change of this.#ground.changes) {
      if (change.marked) change.position ??= pool.head();
    }
    if (this.#history.isWhole() || this.#consumed !== pool.head()) return;
    this.#history.makeWhole();
    this.#publish();
  }

  #clean(): void {
    if (this.#cleaning && this.disk.busy) {
      this.disk.step();
    } else if (!this.#cleaning) {
      this.#clock.advance(this.#random.below(1500));
      this.#cleaning = true;
      const coverage = {
        committedPosition: this.#published,
        wholeCopy: 0,
        chain: null,
        isDamaged: false,
        isRecorded: true,
      };
      void this.#cleaner.step(coverage).finally(() => this.#cleaning = false);
    }
  }

  /** What a power cut would leave names what it must. */
  #check(): void {
    const { changes } = this.#ground;
    for (const change of changes) {
      if (change.published && change.landed && change.flushed) changes.delete(change);
    }
    for (const { page, bits } of this.disk.survivors()) {
      assert(bits !== null, "one copy of a page is whole");
      for (const { firstRegion, lastRegion, ...state } of changes) {
        for (let region = firstRegion; region <= lastRegion; region++) {
          if (Math.floor(region / REGIONS_PER_PAGE) !== page) continue;
          const named = testRegion(bits, region % REGIONS_PER_PAGE);
          assert(named, `region ${region} is named: ${JSON.stringify(state)}`);
        }
      }
    }
  }
}
