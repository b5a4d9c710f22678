// An object store that tries again: capped exponential backoff with jitter around another store's
// calls.
//
// Invariants:
// - A put under a condition is sent again only after a failure that is known to have had no effect.
//   Otherwise its outcome is unknown and the error goes to the caller, who finds out by reading.
// - Everything else may be repeated: reads, lists (resumed after the last key), deletes, plain puts.
// - Nothing is tried again after `usage`, `data`, `fenced` or `closed`, but for refusals of the store that
//   somebody can lift: a redirection or a "not implemented" in passing must not end replication (R19).
//
// Callers: open.ts; the policy is the caller's: one-shot commands give up, so does a daemon that starts
// with its first look, and never after that.

import { type BackoffLimits, backoffMs } from "../base/backoff.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import type {
  ByteRange,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutResult,
  RequestOptions,
  StorePutOptions,
} from "./object_store.ts";
import { closedError, mayHaveTakenEffect, needsOperator, retryAfterMs } from "./store_error.ts";

export interface RetryPolicy {
  /** No new try starts later than this after the call began. */
  readonly maxElapsedMs: number;
  readonly backoff: BackoffLimits;
  /**
   * How often a refusal is heard that waiting alone does not heal (keys, permissions, space) before it
   * is believed: some pass, as while credentials are renewed. Infinity: somebody will repair it.
   */
  readonly operatorAnswers: number;
  /** The same of "there is no such object": gateways say it in passing. */
  readonly absentAnswers: number;
}

/** For commands that a person waits for. */
export const ONE_SHOT_RETRY: RetryPolicy = {
  maxElapsedMs: 30_000,
  backoff: { firstMs: 200, capMs: 5_000 },
  operatorAnswers: 1,
  absentAnswers: 1,
};

/**
 * For a daemon's first look at its replica: a wrong address fails the start soon, but nothing that passes
 * does. One request that hangs (S3: for 30 s) leaves time for another.
 */
export const START_RETRY: RetryPolicy = {
  ...ONE_SHOT_RETRY,
  maxElapsedMs: 45_000,
  operatorAnswers: 3,
  absentAnswers: 3,
};

/** For the replicator of a running device: for as long as the pool or the dirty map can carry it. */
export const DAEMON_RETRY: RetryPolicy = {
  maxElapsedMs: Infinity,
  backoff: { firstMs: 200, capMs: 30_000 },
  operatorAnswers: Infinity,
  absentAnswers: 3,
};

export type StoreVerb = "head" | "get" | "put" | "list" | "delete";

export interface RetryEvent {
  /** `retry`: a try failed and another follows after `delayMs`; `recovered`: it went well. */
  readonly type: "retry" | "recovered";
  readonly verb: StoreVerb;
  /** Empty for lists. */
  readonly key: string;
  /** Tries so far. */
  readonly attempts: number;
  readonly delayMs: number;
  readonly elapsedMs: number;
  /** The last failure. */
  readonly error: ReplicaError;
}

export interface RetryStoreOptions {
  readonly policy: RetryPolicy;
  readonly clock?: Clock;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  /** Must not throw. */
  readonly onEvent?: (event: RetryEvent) => void;
}

interface Call {
  readonly verb: StoreVerb;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
  /** Whether the call may be sent again although it may have taken effect. */
  readonly repeatable: boolean;
}

export class RetryStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #policy: RetryPolicy;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #onEvent: (event: RetryEvent) => void;
  readonly #closing = new AbortController();

  constructor(store: ObjectStore, options: RetryStoreOptions) {
    this.#store = store;
    this.#policy = options.policy;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#onEvent = options.onEvent ?? (() => {});
  }

  get uri(): string {
    return this.#store.uri;
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    const call: Call = { verb: "head", key, signal: options.signal, repeatable: true };
    return this.#unlessAbsent(call, () => this.#store.head(key, options));
  }

  get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    const call: Call = { verb: "get", key, signal: options.signal, repeatable: true };
    return this.#unlessAbsent(call, () => this.#store.get(key, options));
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const repeatable = options.condition === undefined;
    const call: Call = { verb: "put", key, signal: options.signal, repeatable };
    return this.#retry(call, () => this.#store.put(key, chunks, options));
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    const call: Call = { verb: "delete", key, signal: options.signal, repeatable: true };
    return this.#retry(call, () => this.#store.delete(key, options));
  }

  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const call: Call = { verb: "list", key: "", signal: options.signal, repeatable: true };
    let startAfter = options.startAfter;
    let objects: AsyncIterator<ObjectInfo> | null = null;
    try {
      while (true) {
        const next = await this.#retry(call, async () => {
          objects ??= this.#store.list({ ...options, startAfter })[Symbol.asyncIterator]();
          try {
            return await objects.next();
          } catch (error) {
            objects = null;
            throw error;
          }
        });
        if (next.done) return;
        startAfter = next.value.key;
        yield next.value;
      }
    } finally {
      await (objects as AsyncIterator<ObjectInfo> | null)?.return?.();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#store.close();
  }

  async #unlessAbsent<T>(call: Call, run: () => Promise<T | null>): Promise<T | null> {
    for (let answers = 1;; answers++) {
      const found = await this.#retry(call, run);
      if (found !== null || answers >= this.#policy.absentAnswers) return found;
      await this.#wait(backoffMs(answers - 1, this.#random(), this.#policy.backoff), call);
    }
  }

  async #retry<T>(call: Call, run: () => Promise<T>): Promise<T> {
    const startMs = this.#clock.nowMs();
    let failed: RetryEvent | null = null;
    for (let attempts = 1;; attempts++) {
      try {
        const result = await run();
        if (failed !== null) {
          const elapsedMs = this.#clock.nowMs() - startMs;
          this.#onEvent({ ...failed, type: "recovered", attempts, delayMs: 0, elapsedMs });
        }
        return result;
      } catch (error) {
        const elapsedMs = this.#clock.nowMs() - startMs;
        const delayMs = this.#delayMs(error, attempts);
        if (!this.#mayRetry(error, call, attempts)) throw error;
        if (elapsedMs + delayMs > this.#policy.maxElapsedMs) throw error;
        const { verb, key } = call;
        failed = { type: "retry", verb, key, attempts, delayMs, elapsedMs, error };
        this.#onEvent(failed);
        await this.#wait(delayMs, call);
      }
    }
  }

  #mayRetry(error: unknown, call: Call, attempts: number): error is ReplicaError {
    if (!(error instanceof ReplicaError)) return false;
    if (error.kind !== "unavailable" && !needsOperator(error)) return false;
    if (!call.repeatable && mayHaveTakenEffect(error)) return false;
    return !needsOperator(error) || attempts < this.#policy.operatorAnswers;
  }

  #delayMs(error: unknown, attempts: number): number {
    const { backoff } = this.#policy;
    const asked = Math.min(retryAfterMs(error), backoff.capMs);
    return Math.max(backoffMs(attempts - 1, this.#random(), backoff), asked);
  }

  async #wait(delayMs: number, call: Call): Promise<void> {
    const signals = [this.#closing.signal];
    if (call.signal) signals.push(call.signal);
    const signal = AbortSignal.any(signals);
    await this.#clock.sleep(delayMs, signal);
    if (signal.aborted) throw closedError(`Cannot ${call.verb} ${call.key}: aborted`);
  }
}
