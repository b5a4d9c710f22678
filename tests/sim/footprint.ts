// What a daemon holds at a time (promise 4): requests to the store and their bodies, memory that it takes
// beside the shared one, and waits - each I/O, timer or message that something is kept for. None of it may
// grow with what the replica does, however long that is away.
//
// The limits follow from the plan: what a daemon of such a shape may have under way at once, and no more
// however long the world lasts. The heap of V8 nobody can judge in virtual time.

import { KiB, MiB } from "../../src/base/units.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { Pool } from "../../src/shared/pool.ts";
import { UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { violated } from "./trace.ts";

/** The writer, or a comparison, reads or empties 16 objects at once; a look at the claim goes beside that. */
const REQUESTS_MAX = 16 + 4;
/** A segment is sent from the pool; nodes of a small tree, cards and inodes come on top. */
const BODY_BYTES_MAX = 128 * KiB;
/** A copy's buffer is that long at most, and blocks that are aside are read into one more. */
const BUFFER_BYTES_MAX = 512 * KiB;
/** A comparison reads so much of the primary at a time. */
const STRETCH_BYTES_MAX = MiB;
/** Ticks of rooms, cleaner and a stop, messages, and time limits of requests that were given up. */
const WAITS_MAX = 16;

export interface Held {
  requests: number;
  bodyBytes: number;
  memoryBytes: number;
  /** Pending events of the scheduler. */
  waits: number;
}

export class Footprint {
  readonly #limits: Held;
  readonly #held: Held = { requests: 0, bodyBytes: 0, memoryBytes: 0, waits: 0 };
  #pool: Pool | null = null;

  constructor(plan: WorldPlan) {
    const { queues, depth, batchBlocks, recoverConcurrency } = plan;
    this.#limits = {
      requests: REQUESTS_MAX,
      bodyBytes: batchBlocks * UNIT_BYTES + BODY_BYTES_MAX,
      memoryBytes: recoverConcurrency * BUFFER_BYTES_MAX + UNIT_BYTES + STRETCH_BYTES_MAX,
      // A request of the guest has two I/Os under way at most.
      waits: 2 * queues * depth + 2 * recoverConcurrency + REQUESTS_MAX + WAITS_MAX,
    };
  }

  /** The shared memory of the daemon. */
  use(views: SharedViews): void {
    this.#pool = new Pool(views);
  }

  add(what: keyof Held, amount: number): void {
    const held = this.#held[what] += amount;
    if (held > this.#limits[what]) {
      violated(`promise 4: ${held} ${what} at once, of at most ${this.#limits[what]}`);
    }
  }

  /** After every event. */
  check(): void {
    const pool = this.#pool;
    if (pool === null || pool.usedUnits() <= pool.capacityUnits) return;
    violated(`promise 4: ${pool.usedUnits()} units in a pool of ${pool.capacityUnits}`);
  }

  /** The daemon has closed everything. */
  checkClosed(): void {
    const { memoryBytes, requests } = this.#held;
    if (memoryBytes === 0 && requests === 0) return;
    violated(`promise 4: a closed daemon holds ${memoryBytes} bytes and ${requests} requests`);
  }
}
