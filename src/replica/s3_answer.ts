// Reading S3's answers: etags, conditions that did not hold, ranges, bodies.
// Callers: s3_store.ts, s3_upload.ts.

import { dataError, ReplicaError } from "../base/errors.ts";
import type { ByteRange, PutCondition } from "./object_store.ts";
import { type StoreFailure, storeUnavailable } from "./store_error.ts";

/** The etag of an answer as the store sent it. */
export function etagIn(output: { ETag?: string }, uri: string): string {
  if (output.ETag) return output.ETag;
  throw notS3Error(`Cannot use ${uri}: the store gives no ETag`);
}

/** The HTTP status that an error carries. */
export function statusOf(error: unknown): number | undefined {
  const status = error instanceof ReplicaError ? error.context.status : undefined;
  return typeof status === "number" ? status : undefined;
}

/** Tells the missing bucket's 404 from the missing object's. */
export function isNoBucket(error: unknown): boolean {
  return error instanceof ReplicaError && error.context.code === "NoSuchBucket";
}

/** The store's own word for a missing object; any other 404 may be that of a gateway in between. */
export function isNoKey(error: unknown): boolean {
  return error instanceof ReplicaError && error.context.code === "NoSuchKey";
}

/** A condition as the headers of a PUT or of the last step of an upload. */
export function conditionHeaders(
  condition: PutCondition | undefined,
): { IfNoneMatch?: string; IfMatch?: string } {
  if (condition === undefined) return {};
  return "absent" in condition ? { IfNoneMatch: "*" } : { IfMatch: condition.etag };
}

/** Whether a failure is the answer that the condition did not hold. */
export function conditionRefused(error: unknown, condition: PutCondition | undefined): boolean {
  if (condition === undefined) return false;
  const status = statusOf(error);
  if (status === 412 || status === 409) return true;
  // An etag was asked for and there is no object. Other 404s are about the bucket or the upload.
  return status === 404 && "etag" in condition && isNoKey(error);
}

/** Throws unless it was S3 that confirmed a delete: other servers say 200 to anything. */
export function checkDeleted(
  metadata: { httpStatusCode?: number; requestId?: string },
  uri: string,
): void {
  if (metadata.httpStatusCode === 204 || metadata.requestId !== undefined) return;
  throw notS3Error(`Cannot delete ${uri}: the answer is no S3`);
}

/** The whole object's size out of "bytes 0-9/100", checked against the range that was asked for. */
export function wholeSize(header: string | undefined, range: ByteRange, uri: string): number {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header ?? "");
  const [first, last, size] = match?.slice(1).map(Number) ?? [NaN, NaN, NaN];
  const end = Math.min(range.offset + range.length, size);
  if (first === range.offset && last === end - 1) return size;
  throw notS3Error(`Cannot read ${uri}: the store answered another range than the one asked for`, {
    context: { offset: range.offset, length: range.length, answer: header ?? "none" },
  });
}

/** The bytes of a body of known length; a body that ends early is a failure that may pass. */
export async function collect(
  stream: AsyncIterable<Uint8Array>,
  options: { length: number; uri: string; progress: () => void },
): Promise<Uint8Array> {
  const bytes = new Uint8Array(options.length);
  let filled = 0;
  for await (const chunk of stream) {
    options.progress();
    if (filled + chunk.length > bytes.length) break;
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled === bytes.length) return bytes;
  throw storeUnavailable(`Cannot read ${options.uri}: the answer was cut off`, {
    code: "Truncated",
    effect: "none",
    context: { wanted: options.length, got: filled },
  });
}

/**
 * An answer that no S3 server gives: a proxy's, a web page. Whoever is attached waits until it has gone (R19);
 * commands give up at once.
 */
export function notS3Error(
  message: string,
  details: Partial<Pick<StoreFailure, "status" | "cause" | "context">> = {},
): ReplicaError {
  return storeUnavailable(message, {
    code: "NotS3",
    effect: "unknown",
    operator: true,
    hint: "Check that the endpoint is an S3 server, not a proxy or a web page.",
    ...details,
  });
}

/** A list that can't be believed. */
export function listError(uri: string, what: string): ReplicaError {
  return dataError(`Cannot list ${uri}: the store's list ${what}`, {
    hint: "Use a general purpose bucket: directory buckets (S3 Express) do not list in order.",
  });
}
