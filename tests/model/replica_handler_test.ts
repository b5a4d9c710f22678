// The io-replica handler of several queues on a primary in memory: random requests of every kind and
// alignment, I/O that takes effect and completes in random order, a pool that is often full. When all
// is quiet, replaying what was captured must give the primary's bytes, and nothing may be held.

import { assert, assertEquals } from "../support/assert.ts";
import { ModelQueue } from "../support/model_queue.ts";
import { Prng, seedOf } from "../support/prng.ts";
import type { TagRequest } from "../support/tag_table.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { SECTOR } from "../../src/base/units.ts";
import { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import { Collector } from "../../src/replicator/collector.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { History } from "../../src/shared/history.ts";
import { allocateShared, sharedLayout, sharedViews, WORD } from "../../src/shared/layout.ts";
import { Pool } from "../../src/shared/pool.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../../src/ublk/uapi.ts";

const UNIT = 4096;
const BLOCKS = 24;
const SECTORS_PER_UNIT = UNIT / SECTOR;

class World {
  readonly #random: Prng;
  readonly #disk = new Uint8Array(BLOCKS * UNIT + 2 * PAGE_BYTES);
  readonly #primary = this.#disk.subarray(0, BLOCKS * UNIT);
  readonly #replica = new Uint8Array(BLOCKS * UNIT);
  readonly #rung = new Set<number>();
  readonly #queues: { queue: ModelQueue; handler: ReplicaHandler }[] = [];
  readonly #pool: Pool;
  readonly #stale: StaleMap;
  readonly #history: History;
  readonly #collector: Collector;
  readonly #doorbells: Doorbells;
  readonly #words: Int32Array;
  readonly #locks: Int32Array;
  readonly #ioSectors: number;

  constructor(seed: number, failOneIn: number, readsFail = false) {
    this.#random = new Prng(seed);
    const queues = 1 + this.#random.below(3);
    const ioUnits = 1 + this.#random.below(4);
    this.#ioSectors = ioUnits * SECTORS_PER_UNIT;
    const layout = sharedLayout({
      queues,
      depth: 1 + this.#random.below(6),
      ioBufBytes: ioUnits * UNIT,
      unitBytes: UNIT,
      poolBytes: (2 * (ioUnits + 2) + this.#random.below(20)) * UNIT,
      regionBytes: SECTOR * (1 + this.#random.below(3 * SECTORS_PER_UNIT)),
      deviceSizeBytes: BLOCKS * UNIT,
    });
    const views = sharedViews(allocateShared(layout), layout);
    this.#words = views.words;
    this.#locks = views.locks;
    this.#pool = new Pool(views);
    this.#stale = new StaleMap(views);
    this.#history = new History(views);
    this.#collector = new Collector(views, this.#pool, layout.poolUnits);
    const fds = Array.from({ length: queues }, (_, qid) => qid);
    this.#doorbells = new Doorbells(views, fds, (fd) => this.#rung.add(fd));
    for (const qid of fds) {
      const random = this.#random;
      const options = { qid, primary: this.#disk, random, failOneIn, readsFail };
      const queue = new ModelQueue(views, options);
      this.#queues.push({
        queue,
        handler: new ReplicaHandler({
          qid,
          queue,
          views,
          doorbells: this.#doorbells,
          waitsForRoom: true,
          dirtyMap: { offsetBytes: BLOCKS * UNIT, copyBytes: PAGE_BYTES },
        }),
      });
    }
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) this.#step(true);
    for (let quiet = 0; this.#queues.some(({ queue }) => queue.busy); quiet++) {
      assert(quiet < 100_000, "every request is answered in the end");
      this.#step(false);
    }
    this.#drain();
    this.#compare();
    assertEquals(this.#pool.usedUnits(), 0);
    assert(this.#locks.every((word) => word === 0), "every lock is released");
    const { lockWaiters, poolWaiters, intentWaiters } = WORD;
    const waiting = [lockWaiters, poolWaiters, intentWaiters].map((word) => this.#words[word]);
    assertEquals(waiting, [0, 0, 0]);
    for (const { handler } of this.#queues) assertEquals(handler.parked, 0);
  }

  get staleBlocks(): number {
    return this.#stale.count();
  }

  /** What is not stale is on the replica; nothing is stale in a history that is whole. */
  #compare(): void {
    if (this.#history.isWhole()) assertEquals(this.staleBlocks, 0);
    for (let block = 0; block < BLOCKS; block++) {
      if (this.#stale.overlaps(block, 1)) continue;
      const [from, to] = [block * UNIT, (block + 1) * UNIT];
      const [replica, primary] = [this.#replica, this.#primary];
      assertEquals(replica.subarray(from, to), primary.subarray(from, to), `block ${block}`);
    }
  }

  results(result: number): number {
    return this.#queues.reduce((sum, { queue }) => sum + (queue.results.get(result) ?? 0), 0);
  }

  #step(mayIssue: boolean): void {
    const { queue, handler } = this.#random.pick(this.#queues);
    const choice = this.#random.below(10);
    if (choice < 4 && mayIssue) {
      const tag = queue.freeTag();
      if (tag < 0) return;
      this.#random.fill(queue.buffer(tag).subarray(0, 64));
      queue.buffer(tag).copyWithin(64, 0);
      queue.issue(tag, this.#request(), handler);
    } else if (choice < 8) {
      queue.step(handler);
    } else if (choice === 8) {
      for (const qid of [...this.#rung]) {
        this.#rung.delete(qid);
        this.#queues[qid].handler.wake();
      }
    } else {
      this.#drain();
    }
  }

  #request(): TagRequest {
    const op = this.#random.pick([
      UBLK_IO_OP_READ,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_WRITE,
      UBLK_IO_OP_FLUSH,
      UBLK_IO_OP_DISCARD,
      UBLK_IO_OP_WRITE_ZEROES,
    ]);
    const flags = this.#random.oneIn(4) ? UBLK_IO_F_FUA : 0;
    if (op === UBLK_IO_OP_FLUSH) return { op, flags, startSector: 0, sectors: 0 };
    const zeroing = op === UBLK_IO_OP_DISCARD || op === UBLK_IO_OP_WRITE_ZEROES;
    const unit = this.#random.oneIn(2) ? SECTORS_PER_UNIT : 1;
    const most = zeroing ? BLOCKS * SECTORS_PER_UNIT : this.#ioSectors;
    const sectors = unit * (1 + this.#random.below(most / unit));
    const startSector = unit *
      this.#random.below((BLOCKS * SECTORS_PER_UNIT - sectors) / unit + 1);
    return { op, flags, startSector, sectors };
  }

  #drain(): void {
    const { batch, endPosition, operations } = this.#collector.collect();
    if (operations === 0) return;
    for (const { startBlock, blockCount } of batch.zeroRanges) {
      this.#replica.fill(0, startBlock * UNIT, (startBlock + blockCount) * UNIT);
    }
    for (let i = 0; i < batch.blockCount; i++) {
      this.#replica.set(batch.blockBytes(i), batch.blockIndex(i) * UNIT);
    }
    this.#pool.release(endPosition);
    if (this.#words[WORD.poolWaiters] > 0) this.#doorbells.ringAll();
  }
}

Deno.test("ReplicaHandler captures exactly what the primary holds", () => {
  const seed = seedOf("replica_handler");
  for (let n = 0; n < 400; n++) {
    const world = new World(seed + n, 0);
    world.run(400);
    assertEquals(world.staleBlocks, 0);
  }
});

Deno.test("ReplicaHandler follows the primary through failed and partial writes", () => {
  const seed = seedOf("replica_handler with errors");
  let errors = 0;
  for (let n = 0; n < 400; n++) {
    const world = new World(seed + n, 5);
    world.run(400);
    errors += world.results(-5);
    assertEquals(world.staleBlocks, 0);
  }
  assert(errors > 1000, "requests did fail");
});

// A read-back that failed was taken for blocks without content, and nothing of the request was captured:
// not what can be read one block at a time, nor what the next read gives. Nobody knew that they differed.
Deno.test("ReplicaHandler leaves to resync what it cannot read back", () => {
  const seed = seedOf("replica_handler with read errors");
  let stale = 0;
  for (let n = 0; n < 400; n++) {
    const world = new World(seed + n, 20, true);
    world.run(100);
    stale += world.staleBlocks;
  }
  assert(stale > 100, "reads did fail");
});
