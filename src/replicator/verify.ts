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

/** What is read at once, and what goes through the rounds together. */
export const STRETCH_BYTES = MiB;
const BATCH_BYTES = 64 * MiB;
/** Reads of the replica at once. */
const CONCURRENCY = 4;
const DIFFERENT_ROUNDS = 3;
const BUSY_ROUNDS = 20;
/** Blocks between two wanted ones that are cheaper to read than a second time. */
const GAP_BLOCKS = 16;
/** Stretches that are remembered; where more differ, the whole replica is to be written again. */
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
  readonly busyBlocks: number;
  readonly isComplete: boolean;
}

/** A stretch to read for the blocks of it that are to be compared, ascending. */
interface Probe extends Stretch {
  readonly wanted: readonly number[];
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
      isComplete = this.#differing.length + this.#damaged.length <= FINDINGS_MAX;
    }
    return {
      comparedBlocks: this.#comparedBlocks,
      cno: this.#cno,
      differing: this.#differing,
      damaged: this.#damaged,
      busyBlocks: this.#busyBlocks,
      isComplete: isComplete || this.#comparedBlocks === deviceBlocks,
    };
  }

  /** Tells the progress, for waits that the caller knows of. */
  waiting(): void {
    this.#stage = "waiting";
    this.#report();
  }

  async #compare(firstBlock: number, blocks: number): Promise<void> {
    const doubts = new Map<number, Doubt>();
    const differing: number[] = [];
    let open = range(firstBlock, blocks);
    while (open.length > 0) {
      await this.#options.published.whole();
      const before = await this.#sample(open);
      await this.#options.published.now();
      const differs = await this.#differingBlocks(before);
      const earlier = digestMap(before);
      const after = digestMap(await this.#sample(differs));
      open = [];
      for (const block of differs) {
        const doubt = doubts.get(block) ?? { kept: 0, changed: 0 };
        doubts.set(block, doubt);
        if (after.get(block) === earlier.get(block)) doubt.kept++;
        else doubt.changed++;
        if (doubt.kept >= DIFFERENT_ROUNDS) differing.push(block);
        else if (doubt.kept + doubt.changed >= BUSY_ROUNDS) this.#busyBlocks++;
        else open.push(block);
      }
    }
    this.#differing.push(...stretchesOf(differing.sort((a, b) => a - b)));
  }

  async #sample(blocks: readonly number[]): Promise<Sample[]> {
    const { primary, unitBytes } = this.#options;
    const samples: Sample[] = [];
    for (const probe of probesOf(blocks, Math.max(1, STRETCH_BYTES / unitBytes))) {
      this.#stage = "comparing";
      this.#report();
      samples.push({ ...probe, digests: await primary.read(probe, probe.wanted) });
    }
    return samples;
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

/** Ascending blocks as stretches. */
function stretchesOf(blocks: readonly number[]): Stretch[] {
  const stretches: { firstBlock: number; blocks: number }[] = [];
  for (const block of blocks) {
    const last = stretches.at(-1);
    if (last !== undefined && block === last.firstBlock + last.blocks) last.blocks++;
    else stretches.push({ firstBlock: block, blocks: 1 });
  }
  return stretches;
}

/** Ascending blocks as stretches to read, which do not cross a multiple of `limit`. */
function probesOf(blocks: readonly number[], limit: number): Probe[] {
  const probes: Probe[] = [];
  let wanted: number[] = [];
  for (const block of blocks) {
    const last = wanted.at(-1);
    const fits = last !== undefined && block - last <= GAP_BLOCKS &&
      Math.floor(block / limit) === Math.floor(last / limit);
    if (!fits && last !== undefined) {
      probes.push(probeOf(wanted));
      wanted = [];
    }
    wanted.push(block);
  }
  if (wanted.length > 0) probes.push(probeOf(wanted));
  return probes;
}

function probeOf(wanted: readonly number[]): Probe {
  const firstBlock = wanted[0];
  return { firstBlock, blocks: wanted[wanted.length - 1] + 1 - firstBlock, wanted };
}

/** Digests by block. */
function digestMap(samples: readonly Sample[]): Map<number, string> {
  const map = new Map<number, string>();
  for (const { wanted, digests } of samples) {
    wanted.forEach((block, k) => map.set(block, digests[k]));
  }
  return map;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, k) => first + k);
}
