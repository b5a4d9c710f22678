// The comparison of primary and replica that is under way in the replicator's room: one at a time, ended
// from outside. Callers: room.ts.

import { invariant } from "../base/assert.ts";
import { ReplicaError } from "../base/errors.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { runVerify, VerifyRunOptions } from "./verify_run.ts";

/** Gives the code that compares. */
export type LoadVerify = () => Promise<typeof runVerify>;

export class Comparison {
  readonly #load: LoadVerify;
  #underWay: { readonly abort: AbortController; readonly ended: Promise<unknown> } | null = null;

  /** Why there is no comparison any more; null: there may be one. */
  #over: ReplicaError | null = null;

  constructor(load: LoadVerify) {
    this.#load = load;
  }

  /** Compares; rejects with the reason that stop() was given. */
  async run(options: Omit<VerifyRunOptions, "signal">): Promise<VerifyReport> {
    if (this.#over !== null) throw this.#over;
    invariant(this.#underWay === null, "the main room asks for one comparison at a time");
    const abort = new AbortController();
    const { signal } = abort;
    const report = this.#load().then((runVerify) => runVerify({ ...options, signal }));
    this.#underWay = { abort, ended: report.catch(() => undefined) };
    try {
      return await report;
    } catch (error) {
      // A request that was under way says "aborted" only; the reason says why.
      throw signal.reason instanceof ReplicaError ? signal.reason : error;
    } finally {
      this.#underWay = null;
    }
  }

  /** The comparison under way rejects with `reason`, or with `closed`. */
  stop(reason?: ReplicaError): void {
    this.#underWay?.abort.abort(reason);
  }

  /** The device stops: the same, and no other one begins. */
  end(): void {
    this.#over = new ReplicaError("unavailable", "Cannot compare: the device stops");
    this.stop(this.#over);
  }

  /** Resolves when none is under way. */
  get ended(): Promise<unknown> {
    return this.#underWay?.ended ?? Promise.resolve();
  }
}
