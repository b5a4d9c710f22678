// A comparison that the replicator's worker carries out for somebody in the main room: one at a time.
// Callers: replicator_handle.ts.

import { ReplicaError } from "../base/errors.ts";
import type { VerifyProgress, VerifyReport } from "../replication/verify_report.ts";

export interface VerifyRequest {
  /** What differs is copied again. */
  readonly repair: boolean;
  readonly onProgress: (progress: VerifyProgress) => void;
  /** Aborted: nobody waits any more; the comparison ends with `closed`. */
  readonly signal: AbortSignal;
}

export class VerifyCall {
  readonly #onProgress: VerifyRequest["onProgress"];
  readonly #report = Promise.withResolvers<VerifyReport>();

  private constructor(onProgress: VerifyRequest["onProgress"]) {
    this.#onProgress = onProgress;
  }

  /** `stop` passes on that nobody waits any more. */
  static start({ onProgress, signal }: VerifyRequest, stop: () => void): VerifyCall {
    const call = new VerifyCall(onProgress);
    signal.addEventListener("abort", stop);
    const forget = () => signal.removeEventListener("abort", stop);
    call.#report.promise.then(forget, forget);
    if (signal.aborted) stop();
    return call;
  }

  get report(): Promise<VerifyReport> {
    return this.#report.promise;
  }

  progress(progress: VerifyProgress): void {
    this.#onProgress(progress);
  }

  resolve(report: VerifyReport): void {
    this.#report.resolve(report);
  }

  reject(error: Error): void {
    this.#report.reject(error);
  }
}

/** Only one comparison at a time. */
export function busyError(): ReplicaError {
  return new ReplicaError("unavailable", "Cannot compare: another comparison is under way", {
    hint: "Repeat the command when that has ended.",
  });
}
