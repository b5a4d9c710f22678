// Digests of what the primary holds, a block each, taken while it is being written.
//
// A stretch is read under its interval lock, so that no write to it is between the primary and the
// ring: what was read is what the ring says, up to its head. Where the lock can't be had the stretch is
// halved, so that a guest who writes all over it delays the comparison, not the other way round. So is one
// that the primary can't read, down to the blocks that it is about.
// Callers: verify.ts.

import { hash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import type { ResyncPace } from "../replication/resync_pace.ts";
import { IntervalLock } from "../shared/interval_lock.ts";
import type { SharedViews } from "../shared/layout.ts";
import { GuestWatch } from "./guest_watch.ts";
import type { ResyncSource } from "./resync.ts";

const LOCK_RETRY_MS = 2;

/** A row of blocks of the device. */
export interface Stretch {
  readonly firstBlock: number;
  readonly blocks: number;
}

export interface PrimaryDigestsOptions {
  readonly views: SharedViews;
  readonly source: ResyncSource;
  /** Page-aligned memory that stays reachable, for the longest stretch. */
  readonly buffer: Uint8Array;
  readonly pace: ResyncPace;
  readonly clock: Clock;
  readonly wakeQueues: () => void;
  readonly signal: AbortSignal;
}

export class PrimaryDigests {
  readonly #options: PrimaryDigestsOptions;
  readonly #lock: IntervalLock;
  readonly #guest: GuestWatch;
  readonly #unitBytes: number;

  constructor(options: PrimaryDigestsOptions) {
    this.#options = options;
    this.#lock = new IntervalLock(options.views);
    this.#guest = new GuestWatch(options.views);
    this.#unitBytes = options.views.layout.unitBytes;
  }

  /** The digests of `wanted`, ascending blocks of the stretch; null: the primary can't read that one. */
  async read(stretch: Stretch, wanted: readonly number[]): Promise<(string | null)[]> {
    const { clock, signal, wakeQueues } = this.#options;
    const { firstBlock, blocks } = stretch;
    if (wanted.length === 0) return [];
    while (!this.#lock.tryLockOrWake(firstBlock, blocks, wakeQueues)) {
      if (blocks > 1) return await this.#readHalves(stretch, wanted);
      await clock.sleep(LOCK_RETRY_MS, signal);
      throwIfAborted(signal);
    }
    const digests = await this.#readLocked(stretch, wanted);
    if (digests !== null) return digests;
    return blocks > 1 ? await this.#readHalves(stretch, wanted) : [null];
  }

  async #readHalves(
    { firstBlock, blocks }: Stretch,
    wanted: readonly number[],
  ): Promise<(string | null)[]> {
    const half = Math.ceil(blocks / 2);
    const middle = firstBlock + half;
    const left = wanted.filter((block) => block < middle);
    const right = wanted.slice(left.length);
    const digests = await this.read({ firstBlock, blocks: half }, left);
    return [...digests, ...await this.read({ firstBlock: middle, blocks: blocks - half }, right)];
  }

  /** Null: the primary can't read all of the stretch. */
  async #readLocked(
    { firstBlock, blocks }: Stretch,
    wanted: readonly number[],
  ): Promise<string[] | null> {
    const { clock, pace, source, buffer, signal, wakeQueues } = this.#options;
    const sinceMs = clock.nowMs();
    const bytes = buffer.subarray(0, blocks * this.#unitBytes);
    pace.began(sinceMs, bytes.length);
    let canBeRead = true;
    try {
      await source.readInto(firstBlock * this.#unitBytes, bytes);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      canBeRead = false;
    } finally {
      this.#lock.unlockAndWake(firstBlock, blocks, wakeQueues);
    }
    const units = wanted.map((block) => block - firstBlock);
    const digests = canBeRead ? digestsOf(bytes, this.#unitBytes, units) : null;
    pace.ended(clock.nowMs(), clock.nowMs() - sinceMs, this.#guest.isBusy());
    const delayMs = pace.delayMs(clock.nowMs());
    if (delayMs > 0) await clock.sleep(delayMs, signal);
    throwIfAborted(signal);
    return digests;
  }
}

/** Digests of the units of `bytes` with these numbers. */
export function digestsOf(
  bytes: Uint8Array,
  unitBytes: number,
  units: readonly number[],
): string[] {
  return units.map((unit) => {
    const at = unit * unitBytes;
    return hash("sha256", bytes.subarray(at, at + unitBytes), "base64");
  });
}

/** Throws `closed` once the comparison is to end. */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof ReplicaError
    ? signal.reason
    : new ReplicaError("closed", "Cannot finish the comparison: it was stopped");
}
