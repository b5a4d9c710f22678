// A replica root below a key of an S3 bucket.
//
// Invariants:
// - One request per call, and no retry: retry_store.ts decides about those. Bodies beyond one part
//   go through s3_upload.ts.
// - A body is copied into a buffer of ours before it is sent. The caller's memory may change as soon
//   as the call has settled, also when it was aborted while the connection was still sending.
// - The server verifies a CRC32 of every body. Ceph does so only when the algorithm is named, too.
//
// Callers: open.ts.

import type { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { type Clock, systemClock } from "../base/clock.ts";
import type { ReplicaError } from "../base/errors.ts";
import { crc32Base64 } from "./body_stream.ts";
import { ChunkReader, totalBytes } from "./gather.ts";
import { checkKey, compareKeys } from "./object_key.ts";
import type {
  ByteRange,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutCondition,
  PutResult,
  RequestOptions,
  StorePutOptions,
} from "./object_store.ts";
import { PartBuffers } from "./part_buffers.ts";
import type { DatedMetadata } from "./s3_client.ts";
import { S3Connection, type S3Sending } from "./s3_connection.ts";
import { type Environment, resolveS3Settings, type S3Options } from "./s3_settings.ts";
import { endForgottenUploads, uploadInParts } from "./s3_upload.ts";
import { storeUnavailable } from "./store_error.ts";
import {
  checkDeleted,
  collect,
  conditionHeaders,
  conditionRefused,
  etagIn,
  isNoBucket,
  isNoKey,
  listError,
  notS3Error,
  statusOf,
  wholeSize,
} from "./s3_answer.ts";

const PART_BYTES = 16 * 1024 * 1024;
const PART_BUFFERS = 2;
/** Bodies up to this size get a buffer of their own instead of a place among the large ones. */
const SMALL_BYTES = 64 * 1024;

export interface S3StoreOptions extends S3Options {
  readonly clock?: Clock;
  readonly env?: Environment;
  /** Bodies above it are sent in parts of it; S3 wants at least 5 MiB. */
  readonly partBytes?: number;
}

export class S3Store implements ObjectStore {
  readonly #connection: S3Connection;
  readonly #partBytes: number;
  readonly #buffers: PartBuffers;
  /** The clean-up that comes before the first upload in parts. */
  #cleaning: Promise<void> | null = null;
  /** Whether the bucket is known to exist: an answer to HEAD does not tell it from a missing key. */
  #bucketSeen = false;

  constructor(options: S3StoreOptions) {
    const env = options.env ?? ((name) => Deno.env.get(name));
    const settings = resolveS3Settings(options, env);
    this.#connection = new S3Connection(options, settings, options.clock ?? systemClock);
    this.#partBytes = options.partBytes ?? PART_BYTES;
    this.#buffers = new PartBuffers({ sizeBytes: this.#partBytes, count: PART_BUFFERS });
  }

  get uri(): string {
    return this.#connection.uri;
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    const { signal } = options;
    this.#check(key, signal);
    try {
      const output = await this.#connection.send({ verb: "look up", key, signal }, (sending) => {
        return sending.client.send(new HeadObjectCommand(this.#name(key)), abortable(sending));
      });
      this.#bucketSeen = true;
      const dateHeader = (output.$metadata as DatedMetadata).dateHeader;
      const date = dateHeader === undefined ? NaN : Date.parse(dateHeader);
      return {
        key,
        size: output.ContentLength ?? 0,
        etag: etagIn(output, this.#connection.objectUri(key)),
        modifiedMs: output.LastModified?.getTime() ?? 0,
        nowMs: Number.isNaN(date) ? this.#connection.clock.wallMs() : date,
      };
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
      await this.#seeBucket(signal);
      return null;
    }
  }

  /** Throws unless the bucket exists. Credentials that may not ask count as yes. */
  async #seeBucket(signal: AbortSignal | undefined): Promise<void> {
    if (this.#bucketSeen) return;
    const connection = this.#connection;
    try {
      await connection.send({ verb: "open", key: null, signal }, (sending) => {
        const command = new HeadBucketCommand({ Bucket: connection.bucket });
        return sending.client.send(command, abortable(sending));
      });
    } catch (error) {
      if (statusOf(error) === 404) throw this.#noBucket(error);
      if (statusOf(error) !== 403) throw error;
    }
    this.#bucketSeen = true;
  }

  #noBucket(cause: unknown): ReplicaError {
    const { uri, bucket } = this.#connection;
    return storeUnavailable(`Cannot open ${uri}: there is no bucket "${bucket}"`, {
      code: "NoSuchBucket",
      status: 404,
      effect: "none",
      operator: true,
      hint: "Create the bucket, or check its name, the endpoint and the region.",
      cause,
    });
  }

  async get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    const { range, signal } = options;
    this.#check(key, signal);
    if (range?.length === 0) return await this.#emptyBody(key, signal);
    try {
      return await this.#connection.send({ verb: "read", key, signal }, async (sending) => {
        const Range = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
        const command = new GetObjectCommand({ ...this.#name(key), Range });
        const output = await sending.client.send(command, abortable(sending));
        try {
          return await this.#bodyOf(output, { key, range, progress: sending.progress });
        } catch (error) {
          // Unread it would keep its connection for ever.
          (output.Body as unknown as Readable | undefined)?.destroy();
          throw error;
        }
      });
    } catch (error) {
      const status = statusOf(error);
      // Nothing there to send: the range starts at or after the end.
      if (status === 416) return await this.#emptyBody(key, signal);
      if (isNoKey(error)) return null;
      throw error;
    }
  }

  async #bodyOf(
    output: GetObjectCommandOutput,
    { key, range, progress }: { key: string; range?: ByteRange; progress: S3Sending["progress"] },
  ): Promise<ObjectBody> {
    const uri = this.#connection.objectUri(key);
    const size = range ? wholeSize(output.ContentRange, range, uri) : output.ContentLength;
    const length = output.ContentLength;
    if (size === undefined || length === undefined || output.Body === undefined) {
      throw notS3Error(`Cannot read ${uri}: the answer does not tell its length`);
    }
    const stream = output.Body as unknown as AsyncIterable<Uint8Array>;
    const bytes = await collect(stream, { length, uri, progress });
    return { bytes, etag: etagIn(output, uri), size };
  }

  async #emptyBody(key: string, signal: AbortSignal | undefined): Promise<ObjectBody | null> {
    const head = await this.head(key, { signal });
    return head && { bytes: new Uint8Array(), etag: head.etag, size: head.size };
  }

  async put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const { condition, signal, inParts } = options;
    this.#check(key, signal);
    const sizeBytes = totalBytes(chunks);
    const connection = this.#connection;
    const buffers = this.#buffers;
    if (sizeBytes > this.#partBytes || inParts) {
      const partBytes = this.#partBytes;
      // Before the first large upload of ours, not beside it: servers exist that misstate the age of
      // uploads. A start that only tries this way out does not wait for that.
      if (!inParts) await (this.#cleaning ??= endForgottenUploads(connection).catch(ignore));
      return uploadInParts({ connection, buffers, partBytes, key, chunks, condition, signal });
    }
    const send = (buffer: Uint8Array) => {
      const bytes = buffer.subarray(0, sizeBytes);
      new ChunkReader(chunks).read(bytes);
      return this.#putWhole(key, bytes, { condition, signal });
    };
    try {
      const small = sizeBytes <= SMALL_BYTES;
      const etag = small ? await send(new Uint8Array(sizeBytes)) : await buffers.lend(signal, send);
      return { stored: true, etag };
    } catch (error) {
      if (conditionRefused(error, condition)) return { stored: false };
      throw error;
    }
  }

  async #putWhole(
    key: string,
    bytes: Uint8Array,
    options: { condition: PutCondition | undefined; signal: AbortSignal | undefined },
  ): Promise<string> {
    const ChecksumCRC32 = crc32Base64(bytes);
    const request = { verb: "write", key, signal: options.signal };
    const output = await this.#connection.send(request, (sending) => {
      const command = new PutObjectCommand({
        ...this.#name(key),
        Body: sending.body(bytes),
        ContentLength: bytes.length,
        ChecksumAlgorithm: "CRC32",
        ChecksumCRC32,
        ...conditionHeaders(options.condition),
      });
      return sending.client.send(command, abortable(sending));
    });
    this.#bucketSeen = true;
    return etagIn(output, this.#connection.objectUri(key));
  }

  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const { startAfter, signal } = options;
    const connection = this.#connection;
    let token: string | undefined;
    let last = startAfter ?? "";
    do {
      connection.checkOpen(signal);
      const page = await connection.send({ verb: "list", key: null, signal }, (sending) => {
        const command = new ListObjectsV2Command({
          Bucket: connection.bucket,
          Prefix: connection.prefix,
          StartAfter: startAfter && connection.wireKey(startAfter),
          ContinuationToken: token,
        });
        return sending.client.send(command, abortable(sending));
      });
      // Any well-formed page, also a proxy's, would else pass for an empty list.
      if (page.IsTruncated === undefined) {
        throw notS3Error(`Cannot list ${this.uri}: the answer is no list`);
      }
      for (const object of page.Contents ?? []) {
        const key = object.Key?.slice(connection.prefix.length) ?? "";
        // The marker object of a "folder" that some tools make is not one of ours.
        if (key === "") continue;
        if (last !== "" && compareKeys(key, last) <= 0) {
          throw listError(this.uri, "is not in order");
        }
        last = key;
        yield {
          key,
          size: object.Size ?? 0,
          etag: etagIn(object, connection.objectUri(key)),
          modifiedMs: object.LastModified?.getTime() ?? 0,
        };
      }
      if (page.IsTruncated && !page.NextContinuationToken) {
        throw notS3Error(`Cannot list ${this.uri}: the list has no end`);
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    this.#bucketSeen = true;
  }

  async delete(key: string, options: RequestOptions = {}): Promise<void> {
    const { signal } = options;
    this.#check(key, signal);
    try {
      const output = await this.#connection.send({ verb: "delete", key, signal }, (sending) => {
        return sending.client.send(new DeleteObjectCommand(this.#name(key)), abortable(sending));
      });
      checkDeleted(output.$metadata, this.#connection.objectUri(key));
    } catch (error) {
      if (statusOf(error) !== 404 || isNoBucket(error)) throw error;
    }
  }

  async close(): Promise<void> {
    this.#connection.close();
    await this.#cleaning;
  }

  #check(key: string, signal: AbortSignal | undefined): void {
    checkKey(key);
    this.#connection.checkOpen(signal);
  }

  #name(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#connection.bucket, Key: this.#connection.wireKey(key) };
  }
}

function abortable(sending: S3Sending): { abortSignal: AbortSignal } {
  return { abortSignal: sending.abortSignal };
}

/** What can't be cleaned up now is cleaned up by the bucket's own rules or another day. */
function ignore(): void {}
