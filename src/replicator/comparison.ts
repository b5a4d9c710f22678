// The comparison of primary and replica that is under way in the replicator's room: one at a time, ended
// from outside. Callers: room.ts.

import { invariant } from "../base/assert.ts";
import { ReplicaError } from "../base/errors.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { VerifyRunOptions } from "./verify_run.ts";

export class Comparison {
  #underWay: { readonly abort: AbortController; readonly ended: Promise<unknown> } | null = null;

  /** Compares; rejects with the reason that stop() was given. */
  async run(options: Omit<VerifyRunOptions, "signal">): Promise<VerifyReport> {
    invariant(this.#underWay === null, "the main room asks for one comparison at a time");
    const abort = new AbortController();
    const { signal } = abort;
    // Loaded when it is wanted: its digests come with node's crypto, which takes longer than the rest.
    const report = import("./verify_run.ts").then((run) => run.runVerify({ ...options, signal }));
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

  /** Resolves when none is under way. */
  get ended(): Promise<unknown> {
    return this.#underWay?.ended ?? Promise.resolve();
  }
}
