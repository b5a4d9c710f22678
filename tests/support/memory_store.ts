// The object store contract in memory: the fast store of unit tests and of the simulator, and the
// plainest statement of what the others do.

import { type Clock, systemClock } from "../../src/base/clock.ts";
import { checkKey, compareKeys } from "../../src/replica/object_key.ts";
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
import { ChunkReader, totalBytes } from "../../src/replica/gather.ts";
import { closedError } from "../../src/replica/store_error.ts";

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modifiedMs: number;
}

/** Counts the puts of all memory stores, so that an etag never comes back. */
let puts = 0;

export class MemoryStore implements ObjectStore {
  readonly uri: string;
  /** The objects themselves, for tests that look or tamper. */
  readonly objects: Map<string, StoredObject>;
  readonly #clock: Clock;
  #closed = false;

  /** Stores that share `objects` see each other's writes: two clients of one replica. */
  constructor(
    options: { uri?: string; clock?: Clock; objects?: Map<string, StoredObject> } = {},
  ) {
    this.uri = options.uri ?? "memory:///replica";
    this.#clock = options.clock ?? systemClock;
    this.objects = options.objects ?? new Map();
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    await this.#enter(key, options.signal);
    const object = this.objects.get(key);
    return object ? { ...infoOf(key, object), nowMs: this.#clock.wallMs() } : null;
  }

  async get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    await this.#enter(key, options.signal);
    const object = this.objects.get(key);
    if (!object) return null;
    const { bytes, etag } = object;
    const { offset, length } = options.range ?? { offset: 0, length: bytes.length };
    return { bytes: bytes.slice(offset, offset + length), etag, size: bytes.length };
  }

  async put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    await this.#enter(key, options.signal);
    const { condition } = options;
    const old = this.objects.get(key);
    if (condition !== undefined) {
      const holds = "absent" in condition ? old === undefined : old?.etag === condition.etag;
      if (!holds) return { stored: false };
    }
    const bytes = new Uint8Array(totalBytes(chunks));
    new ChunkReader(chunks).read(bytes);
    const etag = `"${(++puts).toString(16)}"`;
    this.objects.set(key, { bytes, etag, modifiedMs: this.#clock.wallMs() });
    return { stored: true, etag };
  }

  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    await this.#enter(null, options.signal);
    const { startAfter } = options;
    for (const key of [...this.objects.keys()].sort(compareKeys)) {
      if (startAfter !== undefined && compareKeys(key, startAfter) <= 0) continue;
      await this.#enter(null, options.signal);
      const object = this.objects.get(key);
      if (object) yield infoOf(key, object);
    }
  }

  async delete(key: string, options: RequestOptions = {}): Promise<void> {
    await this.#enter(key, options.signal);
    this.objects.delete(key);
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  /** Every call takes at least one turn of the event loop, as real stores do. */
  async #enter(key: string | null, signal: AbortSignal | undefined): Promise<void> {
    if (key !== null) checkKey(key);
    this.#check(signal);
    await Promise.resolve();
    this.#check(signal);
  }

  #check(signal: AbortSignal | undefined): void {
    if (this.#closed) throw closedError(`Cannot use ${this.uri}: it is closed`);
    if (signal?.aborted) throw closedError(`Cannot use ${this.uri}: aborted`, signal.reason);
  }
}

function infoOf(key: string, object: StoredObject): ObjectInfo {
  return { key, size: object.bytes.length, etag: object.etag, modifiedMs: object.modifiedMs };
}
