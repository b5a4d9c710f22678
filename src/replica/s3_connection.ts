// One S3 root: sends single requests with a limit on idleness, the caller's and our own abort, and
// failures as ReplicaErrors. Knows keys and names, nothing of what the requests are for.
//
// Invariant: a request settles at the latest `idleTimeoutMs` after its last progress, whatever the
// SDK, the credential providers or the server do.
//
// Callers: s3_store.ts, s3_upload.ts.

import type { S3Client } from "@aws-sdk/client-s3";
import type { Clock } from "../base/clock.ts";
import { BodyStream } from "./body_stream.ts";
import { ProgressWatch } from "./progress_watch.ts";
import { s3Error } from "./s3_error.ts";
import { createS3Client } from "./s3_client.ts";
import type { S3Options, S3Settings } from "./s3_settings.ts";
import { closedError, storeUnavailable } from "./store_error.ts";

export interface S3Request {
  /** Completes "Cannot <verb> <object>". */
  readonly verb: string;
  /** Null for requests about the root. */
  readonly key: string | null;
  readonly signal: AbortSignal | undefined;
}

/** What a request gets while it runs. */
export interface S3Sending {
  readonly client: S3Client;
  readonly abortSignal: AbortSignal;
  /** To call whenever bytes came. */
  readonly progress: () => void;
  /** Makes the request's body: its progress counts, and so does how much of it has left. */
  readonly body: (bytes: Uint8Array) => BodyStream;
}

export class S3Connection {
  readonly uri: string;
  readonly bucket: string;
  readonly clock: Clock;
  readonly #client: S3Client;
  readonly #root: string;
  readonly #settings: S3Settings;
  readonly #closing = new AbortController();

  constructor(options: S3Options, settings: S3Settings, clock: Clock) {
    this.uri = options.key === ""
      ? `s3://${options.bucket}`
      : `s3://${options.bucket}/${options.key}`;
    this.bucket = options.bucket;
    this.clock = clock;
    this.#root = options.key === "" ? "" : `${options.key}/`;
    this.#settings = settings;
    this.#client = createS3Client(options, settings);
  }

  /** The prefix of every key of this root, with its slash. */
  get prefix(): string {
    return this.#root;
  }

  /** The key in the bucket. */
  wireKey(key: string): string {
    return this.#root + key;
  }

  objectUri(key: string): string {
    return `${this.uri}/${key}`;
  }

  /** Runs one request (or a request and the reading of its body) to its end. */
  async send<T>(request: S3Request, body: (sending: S3Sending) => Promise<T>): Promise<T> {
    const watch = new ProgressWatch({
      clock: this.clock,
      idleTimeoutMs: this.#settings.idleTimeoutMs,
      signals: [request.signal, this.#closing.signal],
    });
    let stream: BodyStream | null = null;
    const sending: S3Sending = {
      client: this.#client,
      abortSignal: watch.signal,
      progress: () => watch.progress(),
      body: (bytes) => (stream = this.#bodyStream(bytes, watch)),
    };
    try {
      return await watch.run(() => Promise.race([aborted(watch.signal), body(sending)]));
    } catch (error) {
      const sent = (stream as BodyStream | null)?.sent ?? true;
      throw this.#failure(error, request, { timedOut: watch.timedOut, sent });
    }
  }

  /** While slices are taken, the next one's taking is progress enough; after the last, buffers drain. */
  #bodyStream(bytes: Uint8Array, watch: ProgressWatch): BodyStream {
    return new BodyStream(bytes, (hiddenBytes) => {
      watch.progress(1000 * hiddenBytes / this.#settings.slowestBytesPerSecond);
    });
  }

  #failure(error: unknown, request: S3Request, state: { timedOut: boolean; sent: boolean }) {
    const object = request.key === null ? this.uri : this.objectUri(request.key);
    const endpoint = this.#settings.endpoint ?? "AWS";
    if (state.timedOut) {
      const { idleTimeoutMs } = this.#settings;
      const seconds = idleTimeoutMs / 1000;
      return storeUnavailable(
        `Cannot ${request.verb} ${object}: ${endpoint} gave no sign of life for ${seconds} s`,
        { code: "Timeout", effect: state.sent ? "unknown" : "none", context: { idleTimeoutMs } },
      );
    }
    const stopped = this.#closing.signal.aborted || request.signal?.aborted;
    if (stopped) return closedError(`Cannot ${request.verb} ${object}: aborted`, error);
    const { region } = this.#settings;
    const call = { verb: request.verb, object, bucket: this.bucket, endpoint, region };
    return s3Error(error, call, { sent: state.sent });
  }

  /** Throws `closed` once close() was called or `signal` is aborted. */
  checkOpen(signal: AbortSignal | undefined): void {
    if (this.#closing.signal.aborted) throw closedError(`Cannot use ${this.uri}: it is closed`);
    if (signal?.aborted) throw closedError(`Cannot use ${this.uri}: aborted`, signal.reason);
  }

  /** Ends what is under way with `closed` and releases the connections. */
  close(): void {
    this.#closing.abort();
    this.#client.destroy();
  }
}

/** Rejects once `signal` is aborted. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = () => reject(new DOMException("Aborted", "AbortError"));
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
}
