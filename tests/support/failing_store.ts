// An object store with bad days: any other store, and a plan that says what goes wrong with which
// call. For tests and simulators above the stores; the network's own faults are fault_proxy.ts.

import { ReplicaError, usageError } from "../../src/base/errors.ts";
import type {
  ByteRange,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutResult,
  RequestOptions,
  StorePutOptions,
} from "../../src/replica/object_store.ts";
import { closedError, storeUnavailable } from "../../src/replica/store_error.ts";
import type { Prng } from "./prng.ts";

export type StoreVerb = "head" | "get" | "put" | "list" | "delete";

export interface StoreCall {
  readonly verb: StoreVerb;
  /** Empty for lists. */
  readonly key: string;
  /** From 1: all calls. */
  readonly number: number;
}

export type StoreFault =
  /** Nothing happened, and the error says so: no connection, an explicit refusal. */
  | "refused"
  /** Nothing happened, but nobody can know: a connection that broke. */
  | "lost-before"
  /** It happened, but nobody can know. */
  | "lost-after"
  /** Permissions: does not heal by waiting. */
  | "forbidden"
  /** The store is the wrong one: another region, no conditions. */
  | "not-implemented"
  /** The store answered nonsense. */
  | "garbage"
  /** No answer until the caller's signal is aborted. */
  | "hang"
  | { readonly delayMs: number };

export type StorePlan = (call: StoreCall) => StoreFault | null;

export class FailingStore implements ObjectStore {
  /** May be replaced at any time. */
  plan: StorePlan;
  /** Every call so far with what went wrong. */
  readonly calls: (StoreCall & { readonly fault: StoreFault | null })[] = [];
  readonly #store: ObjectStore;
  readonly #sleep: (ms: number) => Promise<void>;

  constructor(
    store: ObjectStore,
    options: { plan?: StorePlan; sleep?: (ms: number) => Promise<void> } = {},
  ) {
    this.#store = store;
    this.plan = options.plan ?? (() => null);
    this.#sleep = options.sleep ??
      ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
  }

  get uri(): string {
    return this.#store.uri;
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    return this.#call("head", key, options.signal, () => this.#store.head(key, options));
  }

  get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    return this.#call("get", key, options.signal, () => this.#store.get(key, options));
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    return this.#call("put", key, options.signal, () => this.#store.put(key, chunks, options));
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    return this.#call("delete", key, options.signal, () => this.#store.delete(key, options));
  }

  /** Every object of the list is a call of its own, so a list can fail in its middle. */
  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const objects = this.#store.list(options)[Symbol.asyncIterator]();
    try {
      while (true) {
        const next = await this.#call("list", "", options.signal, () => objects.next());
        if (next.done) return;
        yield next.value;
      }
    } finally {
      await objects.return?.();
    }
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #call<T>(
    verb: StoreVerb,
    key: string,
    signal: AbortSignal | undefined,
    run: () => Promise<T>,
  ): Promise<T> {
    const call = { verb, key, number: this.calls.length + 1 };
    const fault = this.plan(call);
    this.calls.push({ ...call, fault });
    if (fault === null) return await run();
    if (typeof fault === "object") {
      await this.#sleep(fault.delayMs);
      return await run();
    }
    if (fault === "hang") await untilAborted(signal);
    if (fault === "lost-after") await run();
    throw failure(fault, call, this.uri);
  }
}

function failure(fault: Exclude<StoreFault, object>, call: StoreCall, uri: string): ReplicaError {
  const message = `Cannot ${call.verb} ${uri}/${call.key}: injected "${fault}"`;
  switch (fault) {
    case "refused":
      return storeUnavailable(message, { code: "SlowDown", status: 503, effect: "none" });
    case "lost-before":
    case "lost-after":
      return storeUnavailable(message, { code: "ECONNRESET", effect: "unknown" });
    case "forbidden":
      return storeUnavailable(message, {
        code: "AccessDenied",
        status: 403,
        effect: "none",
        operator: true,
      });
    case "not-implemented":
      return usageError(message, { context: { status: 501, effect: "none", operator: true } });
    case "garbage":
      return new ReplicaError("data", message, { context: { effect: "unknown" } });
    case "hang":
      return closedError(message);
  }
}

function untilAborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener("abort", () => resolve());
  });
}

/** A plan that fails a share of the calls, replayable from the generator's seed. */
export function randomPlan(
  prng: Prng,
  options: { oneIn: number; faults?: readonly StoreFault[] },
): StorePlan {
  const faults = options.faults ?? ["refused", "lost-before", "lost-after"];
  return () => prng.oneIn(options.oneIn) ? prng.pick(faults) : null;
}
