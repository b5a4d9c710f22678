// One comparison in the replicator's room: the real primary, store and memory behind verify.ts, then the
// repair that was asked for, then the report. Caller: comparison.ts.

import type { Clock } from "../base/clock.ts";
import { MiB } from "../base/units.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import { HyperfileReader } from "../replica/hyperfile_reader.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { ResyncPace } from "../replication/resync_pace.ts";
import type { ByteSpan, VerifyProgress, VerifyReport } from "../replication/verify_report.ts";
import type { SharedViews } from "../shared/layout.ts";
import { PrimaryDigests, type Stretch, throwIfAborted } from "./primary_digests.ts";
import { Published, type PublishedState } from "./published_mark.ts";
import { markForRepair } from "./repair.ts";
import type { RoomMemory, RoomPrimary } from "./room_system.ts";
import { type ReplicaImage, STRETCH_BYTES, Verify } from "./verify.ts";
import type { BlockRun } from "./zero_runs.ts";

const READER = {
  concurrency: 8,
  nodeCacheBytes: 8 * MiB,
  // The blocks themselves are compared; a request per segment less.
  crossCheck: false,
};

export interface VerifyRunOptions {
  readonly views: SharedViews;
  readonly primary: RoomPrimary;
  readonly store: ObjectStore;
  readonly replicator: PublishedState & { unsettled(): Iterable<BlockRun> };
  readonly deviceSizeBytes: number;
  /** Of resync, which holds here too; null: no limit. */
  readonly bytesPerSecond: number | null;
  readonly dirtyMap: MapPlace;
  readonly clock: Clock;
  readonly allocate: (sizeBytes: number) => RoomMemory;
  readonly wakeQueues: () => void;
  /** What differs is marked stale: resync copies it. */
  readonly repair: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: VerifyProgress) => void;
}

/** Compares, repairs where it is to, and reports. */
export async function runVerify(options: VerifyRunOptions): Promise<VerifyReport> {
  const { views, primary, clock, repair } = options;
  const { unitBytes } = views.layout;
  const sinceMs = clock.nowMs();
  const buffer = options.allocate(Math.max(STRETCH_BYTES, unitBytes));
  try {
    const findings = await newVerify(options, buffer.bytes).run();
    throwIfAborted(options.signal);
    const isRepairing = repair && findings.differing.length > 0;
    if (isRepairing) {
      await markForRepair(
        { ...options, disk: primary.disk, place: options.dirtyMap },
        findings.differing,
      );
    }
    return {
      comparedBytes: findings.comparedBlocks * unitBytes,
      deviceSizeBytes: options.deviceSizeBytes,
      cno: findings.cno,
      differing: findings.differing.map((stretch) => spanOf(stretch, unitBytes)),
      damaged: findings.damaged
        .toSorted((a, b) => a.firstBlock - b.firstBlock)
        .map(({ message, ...stretch }) => ({ ...spanOf(stretch, unitBytes), message })),
      unreadable: findings.unreadable.map((stretch) => spanOf(stretch, unitBytes)),
      busyBytes: findings.busyBlocks * unitBytes,
      isComplete: findings.isComplete,
      isRepairing,
      tookMs: Math.round(clock.nowMs() - sinceMs),
    };
  } finally {
    buffer.release();
  }
}

function newVerify(options: VerifyRunOptions, buffer: Uint8Array): Verify {
  const { views, primary, store, replicator, clock, signal, onProgress, wakeQueues } = options;
  const { unitBytes, deviceBlocks } = views.layout;
  const verify: Verify = new Verify({
    unitBytes,
    deviceBlocks,
    primary: new PrimaryDigests({
      views,
      source: primary.data(options.deviceSizeBytes),
      buffer,
      pace: new ResyncPace(options.bytesPerSecond),
      clock,
      wakeQueues,
      signal,
    }),
    unreadable: () => replicator.unsettled(),
    async openReplica(): Promise<ReplicaImage> {
      const reader = await HyperfileReader.open(store, { ...READER, signal });
      return {
        cno: reader.cno,
        read: (offsetBytes, into) => reader.read(offsetBytes, into, signal),
      };
    },
    published: new Published({
      views,
      replicator,
      clock,
      signal,
      onWait: () => verify.waiting(),
    }),
    clock,
    signal,
    onProgress,
  });
  return verify;
}

function spanOf({ firstBlock, blocks }: Stretch, unitBytes: number): ByteSpan {
  return { offsetBytes: firstBlock * unitBytes, lengthBytes: blocks * unitBytes };
}
