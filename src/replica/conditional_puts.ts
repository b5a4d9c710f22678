// Finds out whether a store keeps the promise that everything rests on: that a put under a condition
// fails when the condition does not hold. Some servers refuse conditions, others ignore them and
// overwrite. Callers: format and attach, before anything is written that matters.

import { ReplicaError, usageError } from "../base/errors.ts";
import type { ObjectStore, PutResult, RequestOptions } from "./object_store.ts";
import { mayHaveTakenEffect } from "./store_error.ts";

/** A store that ignores conditions; `context.unsafe` tells it from other errors. */
const UNSAFE = { unsafe: true } as const;
/** It refuses a put whose condition holds; so does one that had the same put before, by a proxy. */
const REFUSES = { ...UNSAFE, refuses: true } as const;
const ATTEMPTS = 3;
const FIRST = new TextEncoder().encode("conditional write probe: first\n");
const SECOND = new TextEncoder().encode("conditional write probe: second\n");
const THIRD = new TextEncoder().encode("conditional write probe: third, in parts\n");

/**
 * Throws a usage error unless `store` honours both conditions, for whole bodies and for uploads in parts.
 * Writes and removes one small object with a name of its own, which no other tool takes for a segment.
 */
export async function probeConditionalPuts(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      await probeOnce(store, options);
      return;
    } catch (error) {
      // A lost answer says nothing about the store, one refusal little: ask again under another name.
      if (!(error instanceof ReplicaError) || attempt === ATTEMPTS) throw error;
      const isLost = error.kind === "unavailable" && mayHaveTakenEffect(error);
      if (!isLost && error.context.refuses !== true) throw error;
    }
  }
}

/**
 * The error that says how `store` breaks the promise; null where it keeps it. Everything else that goes
 * wrong is thrown.
 */
export async function probeStore(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<ReplicaError | null> {
  try {
    await probeConditionalPuts(store, options);
    return null;
  } catch (error) {
    if (error instanceof ReplicaError && isUnsafe(error)) return error;
    throw error;
  }
}

/** Conditions that are ignored, refused although they hold, or not known to the server (501). */
function isUnsafe({ kind, context }: ReplicaError): boolean {
  return context.unsafe === true || (kind === "usage" && context.status === 501);
}

async function probeOnce(store: ObjectStore, options: RequestOptions): Promise<void> {
  const key = `probe-${crypto.randomUUID()}`;
  try {
    await putEachWay(store, key, options.signal);
  } catch (error) {
    // What went wrong before matters more than the probe that may stay behind.
    await Promise.allSettled([store.delete(key, options)]);
    throw error;
  }
  await store.delete(key, options);
}

/** Both conditions, for each of the two ways that a body can go. */
async function putEachWay(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const absent = { signal, condition: { absent: true } } as const;
  const wrong = { signal, condition: { etag: '"00000000000000000000000000000000"' } };
  let etag = etagOf(store, await store.put(key, [FIRST], absent));
  for (const inParts of [false, true]) {
    const where = inParts ? " on CompleteMultipartUpload" : "";
    const refused = { absent: `If-None-Match${where}`, wrong: `If-Match${where}` };
    const body = [inParts ? THIRD : SECOND];
    expectRefusal(store, refused.absent, await store.put(key, body, { ...absent, inParts }));
    expectRefusal(store, refused.wrong, await store.put(key, body, { ...wrong, inParts }));
    const right = { signal, condition: { etag }, inParts };
    const next = etagOf(store, await store.put(key, body, right));
    if (next === etag) throw ignored(store, "ETag");
    etag = next;
  }
}

function etagOf(store: ObjectStore, result: PutResult): string {
  if (result.stored) return result.etag;
  throw new ReplicaError(
    "data",
    `Cannot use ${store.uri}: it refuses a write whose condition holds`,
    {
      context: REFUSES,
      hint:
        "Use a store with conditional writes, or check what stands between it and this machine.",
    },
  );
}

function expectRefusal(store: ObjectStore, header: string, result: PutResult): void {
  if (result.stored) throw ignored(store, header);
}

function ignored(store: ObjectStore, header: string): ReplicaError {
  return usageError(`Cannot keep a replica in ${store.uri}: the store ignores ${header}`, {
    context: UNSAFE,
    hint: "Two writers could overwrite each other there. Use a store with conditional writes, or " +
      "add --accept-unsafe-store and see to it yourself that only one daemon runs.",
  });
}
