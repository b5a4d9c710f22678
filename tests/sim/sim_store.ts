// The object store as a service far away: requests take effect and are answered at random times, some
// fail before or after their effect, answers get lost, and for some time nothing may be reached at all.
// Each daemon has its own client; all share the objects.
//
// The bytes of a put are read when it takes effect, not when it is sent: who lets go of them too early
// stores garbage.

import { dataError } from "../../src/base/errors.ts";
import { compareKeys } from "../../src/replica/object_key.ts";
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
import { totalBytes } from "../../src/replica/gather.ts";
import { closedError, storeUnavailable } from "../../src/replica/store_error.ts";
import type { Prng } from "../support/prng.ts";
import type { Timeline } from "./history.ts";
import { Process, type Scheduler } from "./scheduler.ts";
import { etagOf, gather, infoOf, nameOf, type SimObject } from "./sim_object.ts";
import type { Trace } from "./trace.ts";

/** Nobody can reach the store from `fromMs` to `untilMs`; `hangs`: and nobody is told. */
export interface Outage {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly hangs: boolean;
}

export interface SimServiceOptions {
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly latencyMs: number;
  /** One request in so many fails; 0: none. */
  readonly failOneIn: number;
  /** One request in so many is answered with nonsense, which no waiting heals; 0: none. */
  readonly garbageOneIn: number;
  /** One put under a condition in so many is refused although that holds: before or after its effect; 0: none. */
  readonly conflictOneIn: number;
  readonly outages: readonly Outage[];
  /** The history that a request of `process`, sent now, belongs to. */
  timeline(process: Process): Timeline;
  /** An object was stored or replaced. */
  onPut(key: string, object: SimObject): void;
}

/** After this long without an answer a client gives a request up. */
const TIMEOUT_MS = 10_000;

type Fault =
  | "none"
  | "refused"
  | "lost-before"
  | "lost-after"
  | "forbidden"
  | "garbage"
  | "hang"
  /** 409, as of stores that are about to carry out another request for the key; nothing is done. */
  | "conflict"
  /** 412, as to the second one of two tries of which somebody on the way has made one: it is done. */
  | "done-twice";
/** Faults of requests that take effect. */
const EFFECTIVE: readonly Fault[] = ["none", "lost-after", "done-twice"];
/** What a dead process sent arrives at most so much later. */
export const LATE_MS = 5_000;

interface Request<T> {
  readonly verb: string;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
  /** Of its body. */
  readonly bytes?: number;
  effect(): T;
  /** The answer to a put whose condition does not hold; absent where there is none. */
  readonly refusal?: T;
  /** The process dies or gives the request up: its memory will be somebody else's. */
  detach?(): void;
}

export class SimService {
  readonly objects = new Map<string, SimObject>();
  readonly options: SimServiceOptions;
  /** What is on its way when its sender dies goes on by itself. */
  readonly network = new Process("network");
  /** While false no request fails. */
  faulty = false;
  /** Answers that were nonsense. */
  garbled = 0;
  /** Puts that were refused although their condition held. */
  conflicts = 0;
  /** Requests that clients have sent, whatever became of them. */
  requests = 0;

  constructor(options: SimServiceOptions) {
    this.options = options;
  }

  client(process: Process): ObjectStore {
    return new SimClient(this, process);
  }

  fault(isConditional: boolean): Fault {
    const { scheduler, random, outages, failOneIn, garbageOneIn, conflictOneIn } = this.options;
    if (!this.faulty) return "none";
    const now = scheduler.nowMs;
    const outage = outages.find(({ fromMs, untilMs }) => fromMs <= now && now < untilMs);
    if (outage !== undefined) return outage.hangs ? "hang" : "refused";
    if (garbageOneIn > 0 && random.oneIn(garbageOneIn)) {
      this.garbled++;
      return "garbage";
    }
    if (isConditional && conflictOneIn > 0 && random.oneIn(conflictOneIn)) {
      this.conflicts++;
      return random.oneIn(2) ? "conflict" : "done-twice";
    }
    if (failOneIn === 0 || !random.oneIn(failOneIn)) return "none";
    const kinds: Fault[] = ["refused", "lost-before", "lost-after", "lost-after", "forbidden"];
    return random.oneIn(12) ? "hang" : random.pick(kinds);
  }

  latencyMs(): number {
    const { random, latencyMs } = this.options;
    const slow = random.oneIn(30) ? 10 : 1;
    return latencyMs * slow * (0.3 + 1.4 * random.below(1000) / 1000);
  }
}

class SimClient implements ObjectStore {
  readonly uri = "sim:///replica";
  readonly #service: SimService;
  readonly #process: Process;
  #closed = false;

  constructor(service: SimService, process: Process) {
    this.#service = service;
    this.#process = process;
  }

  head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    return this.#send({
      verb: "head",
      key,
      signal: options.signal,
      effect: () => {
        const object = this.#service.objects.get(key);
        if (object === undefined) return null;
        return { ...infoOf(key, object), nowMs: this.#wallMs() };
      },
    });
  }

  get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    return this.#send({
      verb: "get",
      key,
      signal: options.signal,
      effect: () => {
        const object = this.#service.objects.get(key);
        if (object === undefined) return null;
        const { bytes, etag } = object;
        const { offset, length } = options.range ?? { offset: 0, length: bytes.length };
        return { bytes: bytes.slice(offset, offset + length), etag, size: bytes.length };
      },
    });
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const { objects, options: { timeline: now, onPut, trace } } = this.#service;
    const { condition, signal } = options;
    const timeline = now(this.#process);
    let body: Uint8Array | null = null;
    return this.#send({
      verb: "put",
      key,
      signal,
      bytes: totalBytes(chunks),
      detach: () => body ??= gather(chunks),
      refusal: condition && { stored: false },
      effect: (): PutResult => {
        const old = objects.get(key);
        if (condition !== undefined) {
          const holds = "absent" in condition ? old === undefined : old?.etag === condition.etag;
          if (!holds) return { stored: false };
        }
        const bytes = body ?? gather(chunks);
        const etag = etagOf(bytes);
        const object = {
          bytes,
          etag,
          modifiedMs: this.#wallMs(),
          process: this.#process,
          timeline,
        };
        objects.set(key, object);
        trace.add("stored", nameOf(key), bytes.length);
        onPut(key, object);
        return { stored: true, etag };
      },
    });
  }

  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const { startAfter } = options;
    const infos = await this.#send({
      verb: "list",
      key: startAfter ?? "",
      signal: options.signal,
      effect: () =>
        [...this.#service.objects].map(([key, object]) => infoOf(key, object))
          .filter(({ key }) => startAfter === undefined || compareKeys(key, startAfter) > 0)
          .sort((a, b) => compareKeys(a.key, b.key)),
    });
    yield* infos;
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    const { objects, options: { trace } } = this.#service;
    return this.#send({
      verb: "delete",
      key,
      signal: options.signal,
      effect: () => {
        if (objects.delete(key)) trace.add("deleted", nameOf(key));
      },
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  #wallMs(): number {
    return this.#service.options.scheduler.clock(this.#process).wallMs();
  }

  #send<T>(request: Request<T>): Promise<T> {
    const { verb, key, signal } = request;
    const what = `Cannot ${verb} ${this.uri}/${nameOf(key)}`;
    if (this.#closed || signal?.aborted) return Promise.reject(closedError(`${what}: closed`));
    return new Flight(this.#service, this.#process, request, what).start();
  }
}

/** One request from its sending to its answer. */
class Flight<T> {
  readonly #service: SimService;
  readonly #process: Process;
  readonly #request: Request<T>;
  readonly #what: string;
  readonly #answer = Promise.withResolvers<T>();
  #answered = false;
  #arrived = false;
  readonly #onAbort = () => this.#giveUp(closedError(`${this.#what}: aborted`));

  constructor(service: SimService, process: Process, request: Request<T>, what: string) {
    this.#service = service;
    this.#process = process;
    this.#request = request;
    this.#what = what;
  }

  start(): Promise<T> {
    const { scheduler, random, trace } = this.#service.options;
    const { verb, key, signal } = this.#request;
    const fault = this.#service.fault(this.#request.refusal !== undefined);
    this.#service.requests++;
    trace.add("request", verb, nameOf(key), fault);
    signal?.addEventListener("abort", this.#onAbort);
    this.#hold(1);
    const there = this.#service.latencyMs();
    if (fault === "hang") {
      // What nobody answers may have arrived all the same, even after the client has given it up.
      const arrival = random.oneIn(2) ? there : random.below(2 * TIMEOUT_MS);
      if (random.oneIn(3)) scheduler.after(arrival, this.#process, () => void this.#arrive());
      scheduler.after(TIMEOUT_MS, this.#process, () => this.#fail("Timeout", "unknown"));
      return this.#answer.promise;
    }
    this.#process.onDeath(() => this.#orphaned(EFFECTIVE.includes(fault)));
    scheduler.after(there, this.#process, () => this.#atStore(fault));
    return this.#answer.promise;
  }

  #atStore(fault: Fault): void {
    const { scheduler } = this.#service.options;
    const value = EFFECTIVE.includes(fault) ? this.#arrive() : null;
    scheduler.after(this.#service.latencyMs() / 2, this.#process, () => {
      switch (fault) {
        case "none":
          this.#settle(() => this.#answer.resolve(value as T));
          return;
        case "conflict":
        case "done-twice":
          this.#settle(() => this.#answer.resolve(this.#request.refusal as T));
          return;
        case "refused":
          this.#fail("SlowDown", "none", 503);
          return;
        case "forbidden":
          this.#fail("AccessDenied", "none", 403);
          return;
        case "garbage":
          this.#giveUp(dataError(`${this.#what}: nonsense`, { context: { effect: "unknown" } }));
          return;
        default:
          this.#fail("ECONNRESET", "unknown");
      }
    });
  }

  #hold(count: 1 | -1): void {
    const { footprint } = this.#process;
    footprint?.add("requests", count);
    footprint?.add("bodyBytes", count * (this.#request.bytes ?? 0));
  }

  #arrive(): T {
    this.#arrived = true;
    return this.#request.effect();
  }

  /** Its sender is dead: the request takes effect now, later or never. */
  #orphaned(mayArrive: boolean): void {
    if (this.#arrived || this.#answered) return;
    this.#arrived = true;
    const { scheduler, random } = this.#service.options;
    const fate = mayArrive ? random.below(3) : 0;
    if (fate === 1) this.#request.effect();
    if (fate !== 2) return;
    this.#request.detach?.();
    const afterMs = random.oneIn(2) ? random.below(50) : random.below(LATE_MS);
    scheduler.after(afterMs, this.#service.network, () => void this.#request.effect());
  }

  /** The caller does not want it any more: what was sent may arrive all the same. */
  #giveUp(error: Error): void {
    if (!this.#answered) this.#request.detach?.();
    this.#settle(() => this.#answer.reject(error));
  }

  #fail(code: string, effect: "none" | "unknown", status?: number): void {
    const operator = status === 403;
    this.#giveUp(storeUnavailable(`${this.#what}: ${code}`, { code, effect, status, operator }));
  }

  #settle(settle: () => void): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#hold(-1);
    this.#request.signal?.removeEventListener("abort", this.#onAbort);
    settle();
  }
}
