// What the replica needs of a store of immutable objects, and the contract that every implementation
// is tested against (tests/conformance/object_store_contract.ts). Keys are relative to the replica
// root that the store was opened on: "inode", "0000000001", "device.json".
//
// Contract:
// - An object appears whole or not at all, and a put that resolved is visible to every later call.
// - A put with a condition is atomic: of several racing puts at most one succeeds.
// - Every call may be repeated. A put whose answer was lost may have taken effect: the caller finds
//   out by reading, so put() itself is never retried by a store under a condition.
// - Failures are ReplicaErrors: `unavailable` (may work later; context.status has the HTTP status
//   where there is one), `data` (the store answered nonsense), `usage` (the address can't be right),
//   `closed` (the caller's signal was aborted). A missing object and a condition that does not hold
//   are answers, not errors.

export interface ObjectInfo {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Opaque; compared only for equality, as sent by the store. */
  readonly etag: string;
  /** By the store's clock, milliseconds since the epoch. */
  readonly modifiedMs: number;
}

export interface ObjectHead extends ObjectInfo {
  /** The store's clock when it answered; with `modifiedMs` it gives an object's age. */
  readonly nowMs: number;
}

export interface ObjectBody {
  /** The bytes asked for; fewer where the object ends before the range does. */
  readonly bytes: Uint8Array;
  readonly etag: string;
  /** Size of the whole object in bytes. */
  readonly size: number;
}

/** Bytes `offset` to `offset + length - 1`. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** `absent`: only if no object has this key. `etag`: only if the object is still this one. */
export type PutCondition = { readonly absent: true } | { readonly etag: string };

export type PutResult =
  | { readonly stored: true; readonly etag: string }
  /** The condition did not hold (HTTP 412, 409, or 404 for an etag); nothing was changed. */
  | { readonly stored: false };

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

export interface StorePutOptions extends RequestOptions {
  readonly condition?: PutCondition;
  /** Send even a small body as large ones are sent, where those go another way: to try that way out. */
  readonly inParts?: boolean;
}

export interface ObjectStore {
  /** The root's URI, for messages: never holds credentials. */
  readonly uri: string;
  /** Null when there is no such object. */
  head(key: string, options?: RequestOptions): Promise<ObjectHead | null>;
  /** Null when there is no such object; a range that starts past the end gives no bytes. */
  get(key: string, options?: RequestOptions & { range?: ByteRange }): Promise<ObjectBody | null>;
  /**
   * Stores the concatenation of `chunks`, which may be views of shared memory and must not change
   * until the promise settles.
   */
  put(
    key: string,
    chunks: readonly Uint8Array[],
    options?: StorePutOptions,
  ): Promise<PutResult>;
  /** Every object of the root in ascending order of keys (by UTF-8 bytes). */
  list(options?: RequestOptions & { startAfter?: string }): AsyncIterable<ObjectInfo>;
  /** Succeeds also when there is no such object. */
  delete(key: string, options?: RequestOptions): Promise<void>;
  /** Releases connections; later calls fail with `closed`. */
  close(): Promise<void>;
}
