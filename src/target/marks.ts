// What the superblock says of the device while it runs, decided in the order of the calls.
//
// - Durable before the first write, `active`: from now on primary and replica may differ in what the
//   dirty map names.
// - Until a copy of the whole primary is done the superblock says what made it necessary (`formatted` or
//   `diverged`): after a crash everything is copied but what the staged map says that such a copy has sent.
//
// Caller: replica_target.ts.

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { roomLog } from "../base/log.ts";
import type { PrimaryMetadata } from "../primary/metadata.ts";
import { isResyncing, type Mode } from "../replication/mode.ts";

type Log = Pick<ReturnType<typeof roomLog>, "warn">;

export class TargetMarks {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #started = Promise.withResolvers<PrimaryMetadata>();
  #hasStarted = false;
  #isClosed = false;
  #isCopyOrdered = false;
  #last: Promise<unknown> = this.#started.promise;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Before the queues start; everything else that is to be said comes after. */
  async start(metadata: PrimaryMetadata, mode: Mode): Promise<void> {
    await hit("start.before-active");
    const why = metadata.superblock.state === "formatted" ? "formatted" : "diverged";
    await this.#store(metadata, mode === "forward-full" ? why : "active");
    await hit("start.after-active");
    this.#started.resolve(metadata);
    this.#hasStarted = true;
  }

  modeChanged(before: Mode, mode: Mode): void {
    if (this.#isCopyOrdered) return;
    if (mode === "forward-full") this.diverged();
    if (mode === "logging" && isResyncing(before)) this.#later("active");
  }

  /** The dirty map does not tell any more what the replica lacks. */
  diverged(): void {
    this.#later("diverged");
  }

  /**
   * Carries out an `order` to copy the whole device. `diverged` is durable before it is given, and stays whatever
   * another resync comes to meanwhile: what such a copy publishes no dirty map names, and a crash right
   * after would look like a primary that was put back. Rejects, without the order, where it can't be stored.
   */
  async orderCopy(order: () => Promise<Mode>): Promise<Mode> {
    const stored = this.#last.then(async () =>
      this.#store(await this.#started.promise, "diverged")
    );
    this.#last = stored.catch(() => undefined);
    this.#isCopyOrdered = true;
    try {
      await stored;
      return await order();
    } finally {
      this.#isCopyOrdered = false;
    }
  }

  /** Resolves when all that was to be said is durable, or was refused. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** Nothing more is said; resolves when all that was said is durable, or was refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#hasStarted) await this.#last;
  }

  /** A crash before this is durable costs a copy that was not necessary, or repeats one. */
  #later(state: "active" | "diverged"): void {
    if (this.#isClosed) return;
    this.#last = this.#last.then(async () => {
      try {
        await this.#store(await this.#started.promise, state);
      } catch (error) {
        this.#log.warn("Cannot mark the primary", { state, error: messageOf(error) });
      }
    });
  }

  #store(metadata: PrimaryMetadata, state: "formatted" | "active" | "diverged"): Promise<void> {
    return metadata.storeSuperblock({ state, writtenMs: this.#clock.wallMs() });
  }
}
