// A memory store with a log of requests and a hook that can fail any of them, before or after it took
// effect, or do what another client would do in between.

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
import { MemoryStore } from "./memory_store.ts";

export interface StoreRequest {
  readonly verb: "head" | "get" | "put" | "list" | "delete";
  readonly key: string;
  readonly range?: ByteRange;
}

/**
 * "lost": the request fails before it takes effect; "answer-lost": after; "refused": a put is answered
 * as if its condition did not hold.
 */
export type Fault = "lost" | "answer-lost" | "refused" | undefined;

export class TracedStore implements ObjectStore {
  readonly inner: MemoryStore;
  readonly requests: StoreRequest[] = [];
  hook: (request: StoreRequest, ordinal: number) => Fault | Promise<Fault> = () => undefined;
  /** The most requests that were under way at once. */
  runningMax = 0;
  #running = 0;
  #tampered = 0;

  constructor(inner = new MemoryStore()) {
    this.inner = inner;
  }

  get uri(): string {
    return this.inner.uri;
  }

  head(key: string, options?: RequestOptions): Promise<ObjectHead | null> {
    return this.#request({ verb: "head", key }, () => this.inner.head(key, options));
  }

  get(key: string, options?: RequestOptions & { range?: ByteRange }): Promise<ObjectBody | null> {
    const request = { verb: "get", key, range: options?.range } as const;
    return this.#request(request, () => this.inner.get(key, options));
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options?: StorePutOptions,
  ): Promise<PutResult> {
    const refused: PutResult = { stored: false };
    return this.#request(
      { verb: "put", key },
      () => this.inner.put(key, chunks, options),
      refused,
    );
  }

  async *list(
    options?: RequestOptions & { startAfter?: string },
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    await this.#request({ verb: "list", key: "" }, () => Promise.resolve());
    yield* this.inner.list(options);
  }

  delete(key: string, options?: RequestOptions): Promise<void> {
    return this.#request({ verb: "delete", key }, () => this.inner.delete(key, options));
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  keys(): string[] {
    return [...this.inner.objects.keys()].sort();
  }

  bytesOf(key: string): Uint8Array<ArrayBuffer> {
    const object = this.inner.objects.get(key);
    if (object === undefined) throw new Error(`no object ${key}`);
    return object.bytes.slice();
  }

  /** Stores an object behind everybody's back. */
  set(key: string, bytes: Uint8Array): void {
    const etag = `"tampered-${++this.#tampered}"`;
    this.inner.objects.set(key, { bytes, etag, modifiedMs: 0 });
  }

  /** A store with the same objects, which from then on goes its own way. */
  clone(): TracedStore {
    return new TracedStore(new MemoryStore({ objects: new Map(this.inner.objects) }));
  }

  /** Writes every object into a folder, for checkers that read one. */
  async dump(folder: string): Promise<void> {
    await Deno.mkdir(folder, { recursive: true });
    for (const [key, { bytes }] of this.inner.objects) {
      await Deno.writeFile(`${folder}/${key}`, bytes);
    }
  }

  /** The objects of a folder. */
  static async load(folder: URL): Promise<TracedStore> {
    const store = new TracedStore();
    for await (const { name } of Deno.readDir(folder)) {
      store.set(name, await Deno.readFile(new URL(name, folder)));
    }
    return store;
  }

  count(verb: StoreRequest["verb"], key?: string): number {
    return this.requests.filter((r) => r.verb === verb && (!key || r.key === key)).length;
  }

  async #request<T>(request: StoreRequest, act: () => Promise<T>, refused?: T): Promise<T> {
    const ordinal = this.requests.push(request) - 1;
    this.runningMax = Math.max(this.runningMax, ++this.#running);
    try {
      const fault = await this.hook(request, ordinal);
      if (fault === "lost") throw unavailable(request);
      if (fault === "refused" && refused !== undefined) return refused;
      const result = await act();
      if (fault === "answer-lost") throw unavailable(request);
      return result;
    } finally {
      this.#running--;
    }
  }
}

function unavailable({ verb, key }: StoreRequest): ReplicaError {
  return new ReplicaError("unavailable", `Cannot ${verb} ${key}: no answer`);
}
