// A device in memory for tests of verify: the real ring, replicator, resync and dirty map over a primary
// and a replica whose blocks are single bytes.

import { systemClock } from "../../src/base/clock.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { KiB } from "../../src/base/units.ts";
import type { CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import { Capture } from "../../src/queue/capture.ts";
import { ResyncPace } from "../../src/replication/resync_pace.ts";
import type { VerifyProgress } from "../../src/replication/verify_report.ts";
import type { CommitReceipt } from "../../src/replicator/committer.ts";
import { PrimaryDigests, type Stretch } from "../../src/replicator/primary_digests.ts";
import { Published } from "../../src/replicator/published_mark.ts";
import { markForRepair } from "../../src/replicator/repair.ts";
import { Replicator } from "../../src/replicator/replicator.ts";
import { STRETCH_BYTES, Verify, type VerifyFindings } from "../../src/replicator/verify.ts";
import type { BlockRun } from "../../src/replicator/zero_runs.ts";
import { ringIfAsleep } from "../../src/shared/bell.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../src/shared/layout.ts";
import { quietCopies, quietReplicator } from "./quiet_replicator.ts";
import { READABLE } from "./readable.ts";
import { assert } from "./assert.ts";

export const UNIT = 4 * KiB;
export const BLOCKS = 1024;
export const REGION_BLOCKS = 64;

class MemoryReplica {
  readonly image = new Uint8Array(BLOCKS);
  published = new Uint8Array(BLOCKS);
  cno = 0;
  async commit(batch: CheckpointBatch, publish: boolean): Promise<CommitReceipt> {
    await systemClock.sleep(1);
    for (const { startBlock, blockCount } of batch.zeroRanges) {
      this.image.fill(0, startBlock, startBlock + blockCount);
    }
    for (let i = 0; i < batch.blockCount; i++) {
      this.image[batch.blockIndex(i)] = batch.blockBytes(i)[0];
    }
    if (publish) {
      this.published = this.image.slice();
      this.cno++;
    }
    return { cno: this.cno, segmentBytes: 1, putCount: 2 };
  }
}

export class VerifyWorld {
  readonly views: SharedViews;
  readonly primary = new Uint8Array(BLOCKS);
  readonly replica = new MemoryReplica();
  readonly replicator: Replicator;
  readonly intents: IntentMap;
  readonly abort = new AbortController();
  readonly stages = new Set<string>();
  /** Pages of the dirty map that were written. */
  mapWrites = 0;
  /** What writing a page of the dirty map after the first `mapWritesMax` throws. */
  mapWritesMax = Infinity;
  /** Called when the replica is opened, which is between the two reads of the primary. */
  onOpen: () => void = () => {};
  /** What reading a block of the replica throws. */
  readonly damage = new Map<number, Error>();
  /** Blocks that the primary can't read. */
  readonly bad = new Set<number>();
  /** What resync knows of them. */
  aside: readonly BlockRun[] = [];
  /** Stretches that the primary could not read so far. */
  readonly failedReads: Stretch[] = [];
  readonly #lock: IntervalLock;
  readonly #capture: Capture;
  readonly #running: Promise<void>;
  /** A waiting replicator alone does not keep the event loop alive. */
  readonly #keepAlive = setInterval(() => {}, 1000);

  constructor() {
    const layout = sharedLayout({
      queues: 1,
      depth: 1,
      ioBufBytes: 2 * UNIT,
      unitBytes: UNIT,
      poolBytes: 512 * UNIT,
      regionBytes: REGION_BLOCKS * UNIT,
      deviceSizeBytes: BLOCKS * UNIT,
    });
    this.views = sharedViews(allocateShared(layout), layout);
    this.intents = new IntentMap(this.views);
    this.#lock = new IntervalLock(this.views);
    this.#capture = new Capture(this.views, 0, false);
    this.replicator = this.#newReplicator();
    this.#running = this.replicator.run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.replicator.resume();
    this.replicator.stop();
    await this.#running;
    clearInterval(this.#keepAlive);
  }

  /** As a queue does it; false while somebody holds the block. */
  write(block: number, value: number): boolean {
    const { views } = this;
    if (!this.#lock.tryLock(block, 1)) return false;
    this.primary[block] = value;
    const { tagBuffersOffset } = views.layout;
    views.memory.fill(value, tagBuffersOffset, tagBuffersOffset + UNIT);
    this.#capture.fromBuffer(0, block, 1);
    assert(this.#capture.place(0) >= 0, "no write waits for the pool");
    this.#lock.unlock(block, 1);
    ringIfAsleep(views.words);
    return true;
  }

  /** The published image is the primary's. */
  async equal(): Promise<void> {
    const sinceMs = performance.now();
    while (!this.replica.published.every((value, i) => value === this.primary[i])) {
      assert(performance.now() - sinceMs < 10_000, "the replica does not catch up");
      await systemClock.sleep(2);
    }
  }

  async verify({ stallMs }: { stallMs?: number } = {}): Promise<VerifyFindings> {
    const { views, replicator } = this;
    const { signal } = this.abort;
    const verify: Verify = new Verify({
      unitBytes: UNIT,
      deviceBlocks: BLOCKS,
      primary: new PrimaryDigests({
        views,
        source: this,
        buffer: new Uint8Array(STRETCH_BYTES),
        pace: new ResyncPace(null),
        clock: systemClock,
        wakeQueues() {},
        signal,
      }),
      unreadable: () => this.aside,
      openReplica: () => Promise.resolve(this.#openReplica()),
      published: new Published({
        views,
        replicator,
        clock: systemClock,
        signal,
        onWait: () => verify.waiting(),
        stallMs,
      }),
      clock: systemClock,
      signal,
      onProgress: ({ stage }: VerifyProgress) => this.stages.add(stage),
    });
    return await verify.run();
  }

  async repair(findings: VerifyFindings): Promise<void> {
    await markForRepair({
      views: this.views,
      disk: {
        write: () => this.#writeMap(),
        flush: () => Promise.resolve(),
      },
      place: { offsetBytes: 0, copyBytes: 1 << 20 },
      clock: systemClock,
      wakeQueues() {},
    }, findings.differing);
  }

  /** What the primary holds, and its lock says that nobody writes there. */
  async readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    await systemClock.sleep(1);
    const stretch = { firstBlock: offsetBytes / UNIT, blocks: into.length / UNIT };
    const end = stretch.firstBlock + stretch.blocks;
    if ([...this.bad].some((block) => block >= stretch.firstBlock && block < end)) {
      this.failedReads.push(stretch);
      throw new ReplicaError("kernel", "Cannot read the primary: EIO");
    }
    for (let k = 0; k < into.length / UNIT; k++) {
      into.fill(this.primary[offsetBytes / UNIT + k], k * UNIT, (k + 1) * UNIT);
    }
  }

  #writeMap(): Promise<void> {
    if (this.mapWrites++ < this.mapWritesMax) return Promise.resolve();
    return Promise.reject(new ReplicaError("kernel", "Cannot write the dirty map: EIO"));
  }

  #openReplica() {
    this.onOpen();
    const { published, cno } = this.replica;
    return {
      cno,
      read: async (offsetBytes: number, into: Uint8Array): Promise<void> => {
        await systemClock.sleep(1);
        for (let k = 0; k < into.length / UNIT; k++) {
          const block = offsetBytes / UNIT + k;
          const damage = this.damage.get(block);
          if (damage !== undefined) throw damage;
          into.fill(published[block], k * UNIT, (k + 1) * UNIT);
        }
      },
    };
  }

  #newReplicator(): Replicator {
    const { views, replica } = this;
    return new Replicator({
      ...quietReplicator(views),
      writer: replica,
      resync: {
        ...quietCopies(),
        source: this,
        concurrency: 1,
        ...READABLE,
      },
      mode: "logging",
      limits: { maxAgeMs: 10, targetBytes: 64 * UNIT, flushIntervalMs: 10 },
      batchBlocks: 128,
    });
  }
}
