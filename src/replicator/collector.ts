// Gathers a checkpoint from the pool: walks published entries in ring order, without gaps, until the
// pool has no more or the checkpoint is full. The units stay taken, and their bytes in place, until
// the replicator releases them after the commit: nothing is copied here.

import { invariant } from "../base/assert.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { Coalescer } from "../replication/coalesce.ts";
import type { SharedViews } from "../shared/layout.ts";
import { ENTRY_EMPTY, ENTRY_ZERO, type Pool } from "../shared/pool.ts";
import type { StaleMap } from "../shared/stale_map.ts";

export interface Collected {
  readonly batch: CheckpointBatch;
  /** The position after the last entry that the batch holds. */
  readonly endPosition: number;
  /** Entries and units consumed, before coalescing. */
  readonly operations: number;
  readonly units: number;
}

export class Collector {
  readonly #pool: Pool;
  readonly #coalescer: Coalescer;
  readonly #memory: Uint8Array<SharedArrayBuffer>;
  #position: number;

  constructor(views: SharedViews, pool: Pool, limitBlocks: number) {
    this.#pool = pool;
    this.#coalescer = new Coalescer(limitBlocks);
    this.#memory = views.memory;
    this.#position = pool.tail();
  }

  /** Whether an entry that no batch holds yet is ready. */
  get ready(): boolean {
    return this.#pool.stateAt(this.#position) !== ENTRY_EMPTY;
  }

  /** The position from which on nothing was collected yet. */
  get position(): number {
    return this.#position;
  }

  /**
   * All that is ready, up to what a batch holds and, unless it is -1, to position `limit`, which is the
   * end of an entry. The batch is empty when nothing is.
   */
  collect(limit = -1): Collected {
    const pool = this.#pool;
    const coalescer = this.#coalescer;
    const start = this.#position;
    let operations = 0;
    for (;;) {
      const position = this.#position;
      if (position === limit) break;
      const state = pool.stateAt(position);
      if (state === ENTRY_EMPTY) break;
      const block = pool.startBlockAt(position);
      const count = pool.blockCountAt(position);
      const units = state === ENTRY_ZERO ? 1 : count;
      if (!coalescer.fits(units)) {
        invariant(operations > 0, "a checkpoint can take any one entry");
        break;
      }
      if (state === ENTRY_ZERO) {
        coalescer.addZeroing(block, count);
      } else {
        for (let k = 0; k < count; k++) coalescer.addData(block + k, pool.advance(position, k));
      }
      pool.clear(position);
      this.#position = pool.advance(position, units);
      operations++;
    }
    const units = pool.distance(start, this.#position);
    return { batch: this.#take(), endPosition: this.#position, operations, units };
  }

  /** Consumes what is ready and gives up on it: `forget` is called with the blocks of each entry. */
  discard(forget: (startBlock: number, blockCount: number) => void): number {
    const pool = this.#pool;
    for (;;) {
      const position = this.#position;
      const state = pool.stateAt(position);
      if (state === ENTRY_EMPTY) return position;
      const count = pool.blockCountAt(position);
      forget(pool.startBlockAt(position), count);
      pool.clear(position);
      this.#position = pool.advance(position, state === ENTRY_ZERO ? 1 : count);
    }
  }

  #take(): CheckpointBatch {
    const pool = this.#pool;
    const memory = this.#memory;
    const { blocks, positions, zeroRanges } = this.#coalescer.take();
    return {
      blockCount: blocks.length,
      blockIndex: (i) => blocks[i],
      blockBytes(i) {
        const offset = pool.unitOffset(positions[i]);
        return memory.subarray(offset, offset + pool.unitBytes);
      },
      zeroRanges,
    };
  }
}

/** What was collected and will not be committed is what the ring never got. */
export function markStale(stale: StaleMap, batch: CheckpointBatch): void {
  for (let i = 0; i < batch.blockCount; i++) stale.mark(batch.blockIndex(i), 1);
  for (const zero of batch.zeroRanges) stale.mark(zero.startBlock, zero.blockCount);
}
