// Compares primary and replica while both change, by digests of blocks.
//
// A batch of the device goes through rounds, until each of its blocks is decided:
//
//   read the primary, a stretch at a time under its interval lock     what the primary held
//   wait until a published checkpoint has all that is in the ring     (published_mark.ts)
//   read the replica at a checkpoint not older than that              what the replica has of it
//   where the two differ: read the primary again
//
//   equal                                                    decided
//   differ, the primary has changed meanwhile                the next round tells (busy after BUSY_ROUNDS)
//   differ, the primary has not changed, DIFFERENT_ROUNDS times in all    they differ
//   the primary can't be read                                decided: it can't be told
//
// A write between the two reads of the primary that left it as it was (A-B-A) can deceive a round, hence
// the repetitions. A block that is written all the time is none that stays wrong: each of its writes
// goes to the replica anew.
//
// Caller: verify_run.ts. The effects are parameters; what is found is reported, and repaired by the caller.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { Limiter } from "../replica/limiter.ts";
import type { VerifyProgress } from "../replication/verify_report.ts";
import { digestsOf, type PrimaryDigests, type Stretch, throwIfAborted } from "./primary_digests.ts";
import { type Probe, probesOf, stretchesOf } from "./probes.ts";
import type { BlockRun } from "./zero_runs.ts";

/** What is read at once, and what goes through the rounds together. */
export const STRETCH_BYTES = MiB;
const BATCH_BYTES = 64 * MiB;
/** Reads of the replica at once. */
const CONCURRENCY = 4;
const DIFFERENT_ROUNDS = 3;
const BUSY_ROUNDS = 20;
/**
 * Stretches that are remembered; where more differ, the whole replica is to be written again. So many blocks
 * may be unreadable: a drive that reads nothing takes its time for each of them.
 */
const FINDINGS_MAX = 4096;

/** The replica at one checkpoint. */
export interface ReplicaImage {
  readonly cno: number;
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
}

export interface VerifyOptions {
  readonly unitBytes: number;
  readonly deviceBlocks: number;
  readonly primary: Pick<PrimaryDigests, "read">;
  /** What the primary could not read when it was to be copied: tried once more, each block by itself. */
  readonly unreadable: () => Iterable<BlockRun>;
  /** Opens the newest checkpoint. */
  readonly openReplica: () => Promise<ReplicaImage>;
  readonly published: { whole(): Promise<void>; now(): Promise<void> };
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: VerifyProgress) => void;
}

export interface VerifyFindings {
  readonly comparedBlocks: number;
  readonly cno: number;
  readonly differing: readonly Stretch[];
  readonly damaged: readonly (Stretch & { readonly message: string })[];
  /** Of the primary. */
  readonly unreadable: readonly Stretch[];
  readonly busyBlocks: number;
  readonly isComplete: boolean;
}

/** What the primary held: the digests of the wanted blocks. */
interface Sample extends Probe {
  readonly digests: readonly string[];
}

/** How often a block differed while the primary kept, and while it changed. */
interface Doubt {
  kept: number;
  changed: number;
}

export class Verify {
  readonly #options: VerifyOptions;
  readonly #limiter = new Limiter(CONCURRENCY);
  readonly #startedMs: number;
  readonly #differing: Stretch[] = [];
  readonly #damaged: (Stretch & { message: string })[] = [];
  readonly #unreadable: Stretch[] = [];
  #stage: VerifyProgress["stage"] = "comparing";
  #comparedBlocks = 0;
  #busyBlocks = 0;
  #cno = 0;

  constructor(options: VerifyOptions) {
    this.#options = options;
    this.#startedMs = options.clock.nowMs();
  }

  /** Compares the whole device. Rejects with `closed` when the signal is aborted. */
  async run(): Promise<VerifyFindings> {
    const { deviceBlocks, unitBytes } = this.#options;
    const batchBlocks = BATCH_BYTES / unitBytes;
    let isComplete = true;
    for (let first = 0; first < deviceBlocks && isComplete; first += batchBlocks) {
      const blocks = Math.min(batchBlocks, deviceBlocks - first);
      await this.#compare(first, blocks);
      this.#comparedBlocks = first + blocks;
      this.#report();
      isComplete = this.#findings() <= FINDINGS_MAX;
    }
    return {
      comparedBlocks: this.#comparedBlocks,
      cno: this.#cno,
      differing: this.#differing,
      damaged: this.#damaged,
      unreadable: this.#unreadable,
      busyBlocks: this.#busyBlocks,
      isComplete: isComplete || this.#comparedBlocks === deviceBlocks,
    };
  }

  #findings(): number {
    return this.#differing.length + this.#damaged.length + blocksOf(this.#unreadable);
  }

  /** Tells the progress, for waits that the caller knows of. */
  waiting(): void {
    this.#stage = "waiting";
    this.#report();
  }

  async #compare(firstBlock: number, blocks: number): Promise<void> {
    const doubts = new Map<number, Doubt>();
    const differing: number[] = [];
    const unreadable = new Set<number>();
    let open = range(firstBlock, blocks);
    while (open.length > 0) {
      await this.#options.published.whole();
      const before = await this.#sample(open, unreadable);
      await this.#options.published.now();
      const differs = await this.#differingBlocks(before);
      const earlier = digestMap(before);
      const after = digestMap(await this.#sample(differs, unreadable));
      open = [];
      for (const block of differs) {
        if (unreadable.has(block)) continue;
        const doubt = doubts.get(block) ?? { kept: 0, changed: 0 };
        doubts.set(block, doubt);
        if (after.get(block) === earlier.get(block)) doubt.kept++;
        else doubt.changed++;
        if (doubt.kept >= DIFFERENT_ROUNDS) differing.push(block);
        else if (doubt.kept + doubt.changed >= BUSY_ROUNDS) this.#busyBlocks++;
        else open.push(block);
      }
    }
    this.#differing.push(...stretchesOf(differing.sort(ascending)));
    this.#unreadable.push(...stretchesOf([...unreadable].sort(ascending)));
  }

  /** What the primary holds of `blocks`, without those that it can't read: they join `unreadable`. */
  async #sample(blocks: readonly number[], unreadable: Set<number>): Promise<Sample[]> {
    const { primary, unitBytes } = this.#options;
    const samples: Sample[] = [];
    const alone = new Set([...unreadable, ...this.#knownUnreadable(blocks)]);
    for (const probe of probesOf(blocks, Math.max(1, STRETCH_BYTES / unitBytes), alone)) {
      this.#stage = "comparing";
      this.#report();
      const digests = await primary.read(probe, probe.wanted);
      probe.wanted.forEach((block, k) => digests[k] === null && unreadable.add(block));
      const wanted = probe.wanted.filter((_, k) => digests[k] !== null);
      const readable = digests.filter((digest) => digest !== null);
      if (wanted.length > 0) samples.push({ ...probe, wanted, digests: readable });
    }
    return samples;
  }

  /** Among `blocks` and in the gaps between them, which are read with them. */
  *#knownUnreadable(blocks: readonly number[]): Iterable<number> {
    if (blocks.length === 0) return;
    const end = blocks[blocks.length - 1] + 1;
    for (const { first, count } of this.#options.unreadable()) {
      const last = Math.min(first + count, end);
      for (let block = Math.max(first, blocks[0]); block < last; block++) yield block;
    }
  }

  /** Blocks of which the replica has other bytes, ascending. What it can't read is noted as damaged. */
  async #differingBlocks(samples: readonly Sample[]): Promise<number[]> {
    const { openReplica, signal, unitBytes } = this.#options;
    const replica = await openReplica();
    this.#cno = replica.cno;
    const found: number[] = [];
    await this.#limiter.runAll(samples, async ({ firstBlock, blocks, wanted, digests }) => {
      throwIfAborted(signal);
      const bytes = new Uint8Array(blocks * unitBytes);
      try {
        await replica.read(firstBlock * unitBytes, bytes);
      } catch (error) {
        if (!(error instanceof ReplicaError) || error.kind !== "data") throw error;
        this.#damaged.push({ firstBlock, blocks, message: error.message });
        return;
      }
      const theirs = digestsOf(bytes, unitBytes, wanted.map((block) => block - firstBlock));
      found.push(...wanted.filter((_, k) => theirs[k] !== digests[k]));
      this.#report();
    });
    return found.sort((a, b) => a - b);
  }

  #report(): void {
    const { clock, deviceBlocks, unitBytes, onProgress } = this.#options;
    const elapsedMs = clock.nowMs() - this.#startedMs;
    const done = this.#comparedBlocks;
    onProgress({
      stage: this.#stage,
      comparedBytes: done * unitBytes,
      differingBytes: blocksOf(this.#differing) * unitBytes,
      remainingMs: done === 0 ? null : elapsedMs / done * (deviceBlocks - done),
    });
  }
}

export function blocksOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, { blocks }) => sum + blocks, 0);
}

/** Digests by block. */
function digestMap(samples: readonly Sample[]): Map<number, string> {
  const map = new Map<number, string>();
  for (const { wanted, digests } of samples) {
    wanted.forEach((block, k) => map.set(block, digests[k]));
  }
  return map;
}

function ascending(a: number, b: number): number {
  return a - b;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, k) => first + k);
}
