// One lock for a directory, shared by every process that writes to it, and the clock stamps that
// are handed out under it.
//
// Invariants:
// - The lock is flock(2) on a file that is never removed: the kernel drops it when its holder dies,
//   so a crash leaves nothing to clean.
// - flock belongs to the open file, so calls of this process are queued before they ask for it.
// - Stamps strictly increase, whichever process takes them and however often the clock steps back.
//
// Caller: file_store.ts.

import type { Clock } from "../base/clock.ts";
import { within } from "../base/within.ts";
import { closedError, storeUnavailable } from "./store_error.ts";

const POLL_FIRST_MS = 1;
const POLL_MAX_MS = 50;
const STAMP_BYTES = 8;
/** A stamp further ahead than this came from a clock that was wrong: it is not followed. */
const STAMP_AHEAD_MAX_MS = 3_600_000;

export interface FileLockOptions {
  readonly path: string;
  readonly clock: Clock;
  /** How long to wait for another process before giving up. */
  readonly timeoutMs: number;
}

export class FileLock {
  readonly #file: Deno.FsFile;
  readonly #options: FileLockOptions;
  #tail: Promise<void> = Promise.resolve();

  private constructor(file: Deno.FsFile, options: FileLockOptions) {
    this.#file = file;
    this.#options = options;
  }

  static async open(options: FileLockOptions): Promise<FileLock> {
    const file = await Deno.open(options.path, {
      read: true,
      write: true,
      create: true,
      mode: 0o600,
    });
    return new FileLock(file, options);
  }

  /** Runs `body` while no other holder of the lock, in this process or another, runs theirs. */
  async run<T>(signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T> {
    const deadlineMs = this.#options.clock.nowMs() + this.#options.timeoutMs;
    const before = this.#tail;
    const { promise: done, resolve: leave } = Promise.withResolvers<void>();
    this.#tail = before.then(() => done);
    try {
      await this.#queue(before, deadlineMs, signal);
      await this.#acquire(deadlineMs, signal);
      try {
        return await body();
      } finally {
        await this.#file.unlock();
      }
    } finally {
      leave();
    }
  }

  /** Waits until the calls of this process that came first have left. */
  async #queue(
    before: Promise<void>,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { clock } = this.#options;
    const waited = await within(before, deadlineMs - clock.nowMs(), { clock, signal });
    if (waited === "late") throw this.#gaveUp(signal);
  }

  async #acquire(deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#options;
    let pollMs = POLL_FIRST_MS;
    while (!await this.#file.tryLock(true)) {
      if (signal?.aborted || clock.nowMs() >= deadlineMs) throw this.#gaveUp(signal);
      await clock.sleep(pollMs, signal);
      pollMs = Math.min(pollMs * 2, POLL_MAX_MS);
    }
  }

  #gaveUp(signal: AbortSignal | undefined): Error {
    const { path, timeoutMs } = this.#options;
    if (signal?.aborted) return closedError(`Cannot lock ${path}: aborted`, signal.reason);
    return storeUnavailable(`Cannot lock ${path}: another process holds it`, {
      code: "Locked",
      effect: "none",
      hint: "Look for a stopped or hanging process that uses this replica directory.",
      context: { timeoutMs },
    });
  }

  /** A time in milliseconds that no call has returned before. Only inside run(). */
  async takeStamp(): Promise<number> {
    const bytes = new Uint8Array(STAMP_BYTES);
    const view = new DataView(bytes.buffer);
    await this.#file.seek(0, Deno.SeekMode.Start);
    const read = await this.#file.read(bytes);
    const last = read === STAMP_BYTES ? Number(view.getBigUint64(0, true)) : 0;
    const now = this.#options.clock.wallMs();
    const stamp = last <= now + STAMP_AHEAD_MAX_MS ? Math.max(Math.trunc(now), last + 1) : now;
    view.setBigUint64(0, BigInt(stamp), true);
    await this.#file.seek(0, Deno.SeekMode.Start);
    await this.#file.write(bytes);
    return stamp;
  }

  /** Ends the use of the lock once the calls under way have left. */
  async close(): Promise<void> {
    await this.#tail;
    this.#file.close();
  }
}
