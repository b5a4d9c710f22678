// The real Replicator, ring, capture and resync over a primary and a replica in memory, where a block's value
// is its first byte.

import { quietCopies, quietReplicator } from "./quiet_replicator.ts";
import { assert } from "./assert.ts";
import { systemClock } from "../../src/base/clock.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import type { CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import { Capture } from "../../src/queue/capture.ts";
import type { CommitReceipt } from "../../src/replicator/committer.ts";
import { Replicator } from "../../src/replicator/replicator.ts";
import type { ResyncSource } from "../../src/replicator/resync.ts";
import type { ReplicatorEvent } from "../../src/replicator/replicator_options.ts";
import { ringIfAsleep } from "../../src/shared/bell.ts";
import {
  QUEUE_COUNTER,
  queueCounters,
  REPLICATOR_COUNTER,
  replicatorCounters,
} from "../../src/shared/counters.ts";
import { History } from "../../src/shared/history.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../src/shared/layout.ts";
import { Pool } from "../../src/shared/pool.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";

export const UNIT = 4096;
export const BLOCKS = 256;

class MemoryReplica {
  readonly image = new Uint8Array(BLOCKS);
  readonly published: Uint8Array[] = [];
  stagedCommits = 0;
  failure: Error | null = null;
  gate: Promise<void> = Promise.resolve();

  async commit(batch: CheckpointBatch, publish: boolean): Promise<CommitReceipt> {
    await this.gate;
    await systemClock.sleep(1);
    if (this.failure) throw this.failure;
    for (const { startBlock, blockCount } of batch.zeroRanges) {
      this.image.fill(0, startBlock, startBlock + blockCount);
    }
    for (let i = 0; i < batch.blockCount; i++) {
      this.image[batch.blockIndex(i)] = batch.blockBytes(i)[0];
    }
    if (publish) this.published.push(this.image.slice());
    else this.stagedCommits++;
    return { cno: this.published.length, segmentBytes: 1, putCount: 2 };
  }
}

interface ReplicatorParts {
  readonly views: SharedViews;
  readonly mode: "logging" | "forward-part";
  readonly replica: MemoryReplica;
  readonly readInto: ResyncSource["readInto"];
  readonly events: ReplicatorEvent[];
  readonly drive: Drive;
  readonly lookMs: number;
}

/** What a test says of the primary, and hears of it. */
interface Drive {
  readonly unreadable: Set<number>;
  /** What the resync wanted named, then put aside, then read again. */
  readonly told: string[];
  /** Why its dirty map can't be written. */
  mapFailure: ReplicaError | null;
  /** How long a read takes. */
  readMs: number;
}

function makeReplicator(
  { views, mode, replica, readInto, events, drive, lookMs }: ReplicatorParts,
) {
  return new Replicator({
    ...quietReplicator(views),
    writer: replica,
    resync: {
      ...quietCopies(),
      source: { readInto },
      concurrency: 2,
      async nameRegion(block) {
        await systemClock.sleep(1);
        if (drive.mapFailure !== null) throw drive.mapFailure;
        drive.told.push(`name ${block}`);
      },
      onUnreadable: (block) => drive.told.push(`aside ${block}`),
      onReadable: (blocks) => drive.told.push(`readable ${blocks}`),
      lookMs,
    },
    mode,
    limits: { maxAgeMs: 10, targetBytes: 16 * UNIT, flushIntervalMs: 10 },
    batchBlocks: 32,
    onEvent: (event) => events.push(event),
  });
}

/** `lookMs`: after how long a block that was put aside is read again. */
export function newResyncDevice(mode: "logging" | "forward-part" = "logging", lookMs = 200) {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 2 * UNIT,
    unitBytes: UNIT,
    poolBytes: 64 * UNIT,
    regionBytes: 16 * UNIT,
    deviceSizeBytes: BLOCKS * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const primary = new Uint8Array(BLOCKS);
  const replica = new MemoryReplica();
  const drive: Drive = { unreadable: new Set(), told: [], mapFailure: null, readMs: 1 };
  const stale = new StaleMap(views);
  const capture = new Capture(views, 0, false);
  const lock = new IntervalLock(views);
  const history = new History(views);
  async function readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    await systemClock.sleep(drive.readMs);
    for (let k = 0; k < into.length / UNIT; k++) {
      const block = offsetBytes / UNIT + k;
      if (drive.unreadable.has(block)) {
        throw new ReplicaError("kernel", `Cannot read block ${block}`);
      }
      into.fill(primary[block], k * UNIT, (k + 1) * UNIT);
    }
  }
  const events: ReplicatorEvent[] = [];
  const newReplicator = () =>
    makeReplicator({ views, mode, replica, readInto, events, drive, lookMs });
  const asideBlocks = () =>
    views.counters[replicatorCounters(views) + REPLICATOR_COUNTER.unreadableBlocks];

  /** As a queue does it; false while a copy holds the block. */
  function write(block: number, value: number): boolean {
    if (!lock.tryLock(block, 1)) return false;
    primary[block] = value;
    views.memory.fill(value, layout.tagBuffersOffset, layout.tagBuffersOffset + UNIT);
    capture.fromBuffer(0, block, 1);
    const entries = capture.place(0);
    assert(entries >= 0, "resync never makes a write wait");
    views.counters[queueCounters(0) + QUEUE_COUNTER.captured] += entries;
    lock.unlock(block, 1);
    ringIfAsleep(views.words);
    return true;
  }

  const pool = new Pool(views);
  return {
    views,
    pool,
    primary,
    replica,
    events,
    stale,
    history,
    drive,
    asideBlocks,
    newReplicator,
    write,
  };
}

export async function until(condition: () => boolean): Promise<void> {
  const sinceMs = performance.now();
  while (!condition()) {
    assert(performance.now() - sinceMs < 10_000, "it takes too long");
    await systemClock.sleep(2);
  }
}
