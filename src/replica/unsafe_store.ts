// A store without working conditions, for operators who accept that: a condition is looked up before
// the put instead of being part of it. One writer alone is as safe as ever; of two that put in the same
// moment one may overwrite the other.
// Callers: the replicator's room and format, with --accept-unsafe-store only.

import type {
  ByteRange,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutCondition,
  PutResult,
  RequestOptions,
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
    options: RequestOptions & { condition?: PutCondition } = {},
  ): Promise<PutResult> {
    const { condition, signal } = options;
    if (condition !== undefined) {
      const head = await this.#store.head(key, { signal });
      const holds = "absent" in condition ? head === null : head?.etag === condition.etag;
      if (!holds) return { stored: false };
    }
    return await this.#store.put(key, chunks, { signal });
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
