// A store without working conditions, for operators who accept that: a condition is looked up before
// the put instead of being part of it. Of two writers that put in the same moment one may overwrite the
// other; and of one alone, a put that was given up and arrives late may overwrite what came after it.
// Callers: the replicator's room and format, with --accept-unsafe-store only.

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

export class UnsafeStore implements ObjectStore {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get uri(): string {
    return this.#store.uri;
  }

  head(key: string, options?: RequestOptions): Promise<ObjectHead | null> {
    return this.#store.head(key, options);
  }

  get(key: string, options?: RequestOptions & { range?: ByteRange }): Promise<ObjectBody | null> {
    return this.#store.get(key, options);
  }

  async put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const { condition, ...others } = options;
    if (condition !== undefined) {
      const head = await this.#store.head(key, { signal: others.signal });
      const holds = "absent" in condition ? head === null : head?.etag === condition.etag;
      if (!holds) return { stored: false };
    }
    return await this.#store.put(key, chunks, others);
  }

  list(options?: RequestOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    return this.#store.list(options);
  }

  delete(key: string, options?: RequestOptions): Promise<void> {
    return this.#store.delete(key, options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
