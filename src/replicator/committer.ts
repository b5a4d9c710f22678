// One commit, from what was collected to the pool's units being free again:
//
//   segment and inode on the replica -> flush log on the primary -> release
//
// - Units are freed only when the replica has them durably: a commit that fails loses nothing, and is
//   tried again with the same bytes for as long as it takes (R19).
// - The order of the three steps is that of R12: a crash between any two is recognised at start-up.
// - A commit that is not published leaves the flush log alone: nobody can open it.

import type { Clock } from "../base/clock.ts";
import type { ErrorKind, ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { REPLICATOR_COUNTER as COUNTER } from "../shared/counters.ts";
import type { Pool } from "../shared/pool.ts";
import type { Collected } from "./collector.ts";
import { untilDone } from "./patience.ts";

export interface CommitReceipt {
  readonly cno: number;
  readonly segmentBytes: number;
  readonly putCount: number;
}

/** The replica, as the replicator needs it. commit() may be repeated with the same batch. */
export interface CheckpointWriter {
  /** `publish` false: stored, but part of a checkpoint only with the next commit that publishes. */
  commit(batch: CheckpointBatch, publish: boolean): Promise<CommitReceipt>;
}

/** The primary's record of what is on the replica. */
export interface CommitJournal {
  /** A checkpoint is on the replica; durable on return. */
  recordCommit(commit: { cno: number; committedMs: number; segmentBytes: number }): Promise<void>;
}

export interface CommitterOptions {
  readonly pool: Pool;
  readonly writer: CheckpointWriter;
  readonly journal: CommitJournal;
  /** The replicator's row. */
  readonly counters: Float64Array;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Ends waiting for what is away: the commit then fails with `closed`. */
  readonly signal: AbortSignal;
  /** A step failed and is tried again. */
  readonly onRetry: (error: ReplicaError) => void;
  /** A step has worked: what failed before it, here or in the store's own retries, has healed. */
  readonly onHealed: () => void;
  /** Units became free. */
  readonly onRoom: () => void;
}

export class Committer {
  readonly #options: CommitterOptions;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Commits what was collected, however long it takes. Throws what time does not heal. */
  async commit(collected: Collected, publish: boolean): Promise<void> {
    const { writer, clock } = this.#options;
    const sinceMs = clock.nowMs();
    const receipt = await this.#persist(
      "unavailable",
      () => writer.commit(collected.batch, publish),
    );
    if (publish) await this.#record(receipt);
    this.#count(collected, receipt, clock.nowMs() - sinceMs);
    await hit("commit.before-release");
    this.#options.pool.release(collected.endPosition);
    this.#options.onRoom();
    await hit("commit.after-release");
  }

  /** Runs a step, however often it takes. */
  async #persist<T>(healing: ErrorKind, step: () => Promise<T>): Promise<T> {
    const { clock, random, signal, counters, onRetry, onHealed } = this.#options;
    const result = await untilDone({
      clock,
      random,
      signal,
      heals: (error) => error.kind === healing,
      onRetry(error) {
        counters[COUNTER.commitErrors]++;
        onRetry(error);
      },
    }, step);
    onHealed();
    return result;
  }

  async #record({ cno, segmentBytes }: CommitReceipt): Promise<void> {
    const { counters, clock, journal } = this.#options;
    const committedMs = clock.wallMs();
    // Zeros over zeros change nothing: then there is no new checkpoint to record.
    if (cno !== counters[COUNTER.lastCno]) {
      // Without its record no later commit begins: start-up can explain a replica that is one commit
      // ahead of the flush log, not more.
      await this.#persist(
        "kernel",
        () => journal.recordCommit({ cno, committedMs, segmentBytes }),
      );
      counters[COUNTER.checkpoints]++;
    }
    counters[COUNTER.lastCno] = cno;
    counters[COUNTER.lastCommitMs] = committedMs;
  }

  #count(collected: Collected, receipt: CommitReceipt, tookMs: number): void {
    const { counters, pool } = this.#options;
    counters[COUNTER.lastCommitTookMs] = tookMs;
    counters[COUNTER.segmentBytes] += receipt.segmentBytes;
    counters[COUNTER.putRequests] += receipt.putCount;
    counters[COUNTER.committedBytes] += collected.batch.blockCount * pool.unitBytes;
    counters[COUNTER.committedOperations] += collected.operations;
    counters[COUNTER.drainedBytes] += collected.units * pool.unitBytes;
  }
}
