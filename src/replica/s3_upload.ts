// Uploads in parts, for bodies beyond one part: parts in parallel from a bounded set of buffers, the
// condition on the last step, and no unfinished upload left behind when anything fails.
//
// Invariants:
// - Nothing is visible before the last step, so every failure before it has no effect.
// - The object carries a random tag of its upload: when the answer to the last step is lost, the tag
//   tells whether it was this upload that made the object.
//
// Caller: s3_store.ts.

import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { backoffMs } from "../base/backoff.ts";
import { ReplicaError } from "../base/errors.ts";
import { crc32Base64 } from "./body_stream.ts";
import { ChunkReader, totalBytes } from "./gather.ts";
import type { PutCondition, PutResult } from "./object_store.ts";
import type { PartBuffers } from "./part_buffers.ts";
import type { S3Connection } from "./s3_connection.ts";
import { needsOperator, storeUnavailable } from "./store_error.ts";
import { conditionHeaders, conditionRefused, etagIn, notS3Error } from "./s3_answer.ts";

const PARTS_AT_ONCE = 2;
const PART_ATTEMPTS = 3;
const UPLOAD_TAG = "upload";
const FORGOTTEN_MS = 24 * 60 * 60 * 1000;

export interface UploadOptions {
  readonly connection: S3Connection;
  readonly buffers: PartBuffers;
  readonly partBytes: number;
  readonly key: string;
  readonly chunks: readonly Uint8Array[];
  readonly condition: PutCondition | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Stores the chunks as one object of several parts. */
export async function uploadInParts(options: UploadOptions): Promise<PutResult> {
  const tag = crypto.randomUUID();
  const uploadId = await begin(options, tag);
  let parts: CompletedPart[];
  try {
    parts = await sendParts(options, uploadId);
  } catch (error) {
    await abandon(options, uploadId);
    throw withoutEffect(error);
  }
  try {
    return { stored: true, etag: await complete(options, uploadId, parts) };
  } catch (error) {
    return await resolve(options, { uploadId, tag, error });
  }
}

async function begin(options: UploadOptions, tag: string): Promise<string> {
  const { connection, key, signal } = options;
  try {
    const output = await connection.send(
      { verb: "begin the upload of", key, signal },
      (sending) => {
        const command = new CreateMultipartUploadCommand({
          Bucket: connection.bucket,
          Key: connection.wireKey(key),
          ChecksumAlgorithm: "CRC32",
          Metadata: { [UPLOAD_TAG]: tag },
        });
        return sending.client.send(command, { abortSignal: sending.abortSignal });
      },
    );
    if (output.UploadId !== undefined) return output.UploadId;
    throw notS3Error(`Cannot upload ${connection.objectUri(key)}: no upload id came back`);
  } catch (error) {
    throw withoutEffect(error);
  }
}

/** Each of a few senders takes the next part that nobody took, in the order of the body. */
async function sendParts(options: UploadOptions, uploadId: string): Promise<CompletedPart[]> {
  const { partBytes, chunks, buffers } = options;
  const sizeBytes = totalBytes(chunks);
  const count = Math.ceil(sizeBytes / partBytes);
  const reader = new ChunkReader(chunks);
  const parts: CompletedPart[] = [];
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  let next = 0;
  async function sender(): Promise<void> {
    while (next < count) {
      await buffers.lend(signal, async (buffer) => {
        // Others may have taken the last part while this one waited for its buffer.
        if (next >= count) return;
        const index = next++;
        const bytes = buffer.subarray(0, Math.min(partBytes, sizeBytes - index * partBytes));
        reader.read(bytes);
        parts[index] = await sendPart({ ...options, signal }, { uploadId, index, bytes });
      });
    }
  }
  const senders = Array.from({ length: Math.min(PARTS_AT_ONCE, count) }, sender);
  try {
    await Promise.all(senders);
  } catch (error) {
    failed.abort();
    await Promise.allSettled(senders);
    throw error;
  }
  return parts;
}

async function sendPart(
  options: UploadOptions,
  part: { uploadId: string; index: number; bytes: Uint8Array },
): Promise<CompletedPart> {
  const { connection, key, signal } = options;
  const PartNumber = part.index + 1;
  const ChecksumCRC32 = crc32Base64(part.bytes);
  for (let attempt = 1;; attempt++) {
    try {
      const verb = `upload part ${PartNumber} of`;
      const output = await connection.send({ verb, key, signal }, (sending) => {
        const command = new UploadPartCommand({
          Bucket: connection.bucket,
          Key: connection.wireKey(key),
          UploadId: part.uploadId,
          PartNumber,
          Body: sending.body(part.bytes),
          ContentLength: part.bytes.length,
          ChecksumAlgorithm: "CRC32",
          ChecksumCRC32,
        });
        return sending.client.send(command, { abortSignal: sending.abortSignal });
      });
      // A store that knows no CRC32 would refuse to hear of it in the last step.
      const known = output.ChecksumCRC32 === undefined ? {} : { ChecksumCRC32 };
      return { PartNumber, ETag: etagIn(output, connection.objectUri(key)), ...known };
    } catch (error) {
      const again = error instanceof ReplicaError && error.kind === "unavailable" &&
        !needsOperator(error) && attempt < PART_ATTEMPTS;
      if (!again) throw error;
      await connection.clock.sleep(backoffMs(attempt - 1, Math.random()), signal);
    }
  }
}

async function complete(
  options: UploadOptions,
  uploadId: string,
  parts: CompletedPart[],
): Promise<string> {
  const { connection, key, signal, condition } = options;
  const output = await connection.send(
    { verb: "complete the upload of", key, signal },
    (sending) => {
      const command = new CompleteMultipartUploadCommand({
        Bucket: connection.bucket,
        Key: connection.wireKey(key),
        UploadId: uploadId,
        MultipartUpload: { Parts: parts },
        ...conditionHeaders(condition),
      });
      return sending.client.send(command, { abortSignal: sending.abortSignal });
    },
  );
  return etagIn(output, connection.objectUri(key));
}

/** After a last step without a clear answer: ends the upload, then looks whose the object is. */
async function resolve(
  options: UploadOptions,
  upload: { uploadId: string; tag: string; error: unknown },
): Promise<PutResult> {
  const { connection, key, condition } = options;
  const ended = await abandon(options, upload.uploadId);
  if (upload.error instanceof ReplicaError && upload.error.kind === "closed") throw upload.error;
  const found = await connection.send(
    { verb: "look up", key, signal: options.signal },
    (sending) => {
      const command = new HeadObjectCommand({
        Bucket: connection.bucket,
        Key: connection.wireKey(key),
      });
      return sending.client.send(command, { abortSignal: sending.abortSignal });
    },
  ).catch((error) => error as ReplicaError);
  if (!(found instanceof ReplicaError) && found.Metadata?.[UPLOAD_TAG] === upload.tag) {
    return { stored: true, etag: etagIn(found, connection.objectUri(key)) };
  }
  if (conditionRefused(upload.error, condition)) return { stored: false };
  const missing = found instanceof ReplicaError && found.context.status === 404;
  const looked = missing || !(found instanceof ReplicaError);
  throw ended && looked ? withoutEffect(upload.error) : upload.error;
}

/** True if the upload was ended by this call, so that it can't become an object any more. */
async function abandon(
  options: Pick<UploadOptions, "connection" | "key">,
  uploadId: string,
): Promise<boolean> {
  const { connection, key } = options;
  try {
    // Not under the caller's signal: an aborted put has an upload to end, too.
    await connection.send({ verb: "abandon the upload of", key, signal: undefined }, (sending) => {
      const command = new AbortMultipartUploadCommand({
        Bucket: connection.bucket,
        Key: connection.wireKey(key),
        UploadId: uploadId,
      });
      return sending.client.send(command, { abortSignal: sending.abortSignal });
    });
    return true;
  } catch (error) {
    // Its parts stay until the next clean-up; what the caller hears is why the upload failed.
    if (error instanceof ReplicaError) return false;
    throw error;
  }
}

/**
 * Ends the uploads below the root that nobody has finished for a day: what killed writers left. They
 * are invisible but are paid for. A clean-up only: credentials that may not list uploads are fine.
 */
export async function endForgottenUploads(connection: S3Connection): Promise<void> {
  const signal = undefined;
  const page = await connection.send({ verb: "list uploads of", key: null, signal }, (sending) => {
    const command = new ListMultipartUploadsCommand({
      Bucket: connection.bucket,
      Prefix: connection.prefix,
    });
    return sending.client.send(command, { abortSignal: sending.abortSignal });
  });
  const limitMs = connection.clock.wallMs() - FORGOTTEN_MS;
  for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
    if (Key === undefined || UploadId === undefined || Initiated === undefined) continue;
    if (Initiated.getTime() > limitMs) continue;
    const key = Key.slice(connection.prefix.length);
    await abandon({ connection, key }, UploadId);
  }
}

function withoutEffect(error: unknown): unknown {
  if (!(error instanceof ReplicaError) || error.kind !== "unavailable") return error;
  const { code, status, operator, retryAfterMs } = error.context;
  return storeUnavailable(error.message, {
    code: String(code),
    effect: "none",
    status: typeof status === "number" ? status : undefined,
    operator: operator === true,
    retryAfterMs: typeof retryAfterMs === "number" ? retryAfterMs : undefined,
    hint: error.hint,
    cause: error.cause,
  });
}
