// Several processes over one in-memory store, one request at a time in an order that a seed decides.
// Requests fail before or after they took effect, take effect long after their process was told that
// they failed, or after it died. For tests of who may write.

import { setImmediate } from "node:timers";
import { ReplicaError } from "../../src/base/errors.ts";
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
import { storeUnavailable } from "../../src/replica/store_error.ts";
import { MemoryStore } from "./memory_store.ts";
import type { Prng } from "./prng.ts";

interface Waiting {
  readonly process: StoreProcess;
  readonly go: () => void;
}

/** Decides what happens next, and to whom. */
export class Interleaving {
  readonly store = new MemoryStore();
  readonly prng: Prng;
  /** One request in so many goes wrong; 0: none. */
  faultOneIn: number;
  steps = 0;
  /** Called after every request that changed the store. */
  onChange: () => void = () => undefined;
  #waiting: Waiting[] = [];
  #late: (() => Promise<unknown>)[] = [];

  constructor(prng: Prng, options: { faultOneIn: number }) {
    this.prng = prng;
    this.faultOneIn = options.faultOneIn;
  }

  spawn(): StoreProcess {
    return new StoreProcess(this);
  }

  /** Runs until `lives` have ended; then what was on its way arrives. */
  async run(lives: readonly Promise<unknown>[]): Promise<void> {
    let running = lives.length;
    for (const life of lives) life.finally(() => running--).catch(() => undefined);
    while (true) {
      // Everything that does not wait for the store goes on until it does.
      await new Promise((resolve) => setImmediate(resolve));
      if (running === 0) break;
      await this.#step();
    }
    await Promise.all(lives);
    while (this.#late.length > 0) await this.#arrive();
  }

  async #step(): Promise<void> {
    this.steps++;
    if (this.#late.length > 0 && (this.prng.oneIn(12) || this.#waiting.length === 0)) {
      return await this.#arrive();
    }
    const at = this.prng.below(this.#waiting.length);
    this.#waiting.splice(at, 1)[0]?.go();
  }

  async #arrive(): Promise<void> {
    const [effect] = this.#late.splice(this.prng.below(this.#late.length), 1);
    await effect();
    this.onChange();
  }

  /** The process waits for its turn; a dead one gets none. */
  async turn(process: StoreProcess): Promise<void> {
    await new Promise<void>((go) => this.#waiting.push({ process, go }));
    process.checkAlive();
  }

  async call<T>(process: StoreProcess, put: boolean, effect: () => Promise<T>): Promise<T> {
    process.checkAlive();
    try {
      await this.turn(process);
    } catch (error) {
      // It died with the request on its way.
      if (put && this.prng.oneIn(2)) this.#late.push(effect);
      throw error;
    }
    const fault = this.faultOneIn > 0 && this.prng.oneIn(this.faultOneIn);
    const kind = fault ? this.prng.pick(["before", "after", "late"] as const) : null;
    if (kind === "late" && put) this.#late.push(effect);
    if (kind === "late" || kind === "before") throw lost();
    const result = await effect();
    if (put) this.onChange();
    // The answer takes its time too: what it says may be old when it is read.
    await this.turn(process);
    if (kind === "after") throw lost();
    return result;
  }
}

function lost(): ReplicaError {
  return storeUnavailable("Cannot reach the store: no answer", {
    code: "ECONNRESET",
    effect: "unknown",
  });
}

/** The store as one process sees it, until it dies. */
export class StoreProcess implements ObjectStore {
  readonly #world: Interleaving;
  #dead = false;

  constructor(world: Interleaving) {
    this.#world = world;
  }

  get uri(): string {
    return this.#world.store.uri;
  }

  /** Every request from now on, and every one under way, ends with `closed`. */
  kill(): void {
    this.#dead = true;
  }

  checkAlive(): void {
    if (this.#dead) throw new ReplicaError("closed", "Cannot go on: the process was killed");
  }

  head(key: string, options?: RequestOptions): Promise<ObjectHead | null> {
    return this.#world.call(this, false, () => this.#world.store.head(key, options));
  }

  get(key: string, options?: RequestOptions & { range?: ByteRange }): Promise<ObjectBody | null> {
    return this.#world.call(this, false, () => this.#world.store.get(key, options));
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options?: StorePutOptions,
  ): Promise<PutResult> {
    // A request on its way has bytes of its own.
    const copies = chunks.map((chunk) => chunk.slice());
    return this.#world.call(this, true, () => this.#world.store.put(key, copies, options));
  }

  async *list(
    options?: RequestOptions & { startAfter?: string },
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    await this.#world.turn(this);
    for await (const info of this.#world.store.list(options)) {
      yield info;
      await this.#world.turn(this);
    }
  }

  delete(key: string, options?: RequestOptions): Promise<void> {
    return this.#world.call(this, true, () => this.#world.store.delete(key, options));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
