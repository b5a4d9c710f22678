// A request body in slices, so that the sender sees progress and knows what has not left yet.
//
// Invariant: `sent` is false while a byte of the body was not handed to the connection: the server
// can't have the whole request, so it can't have acted on it.
//
// Callers: s3_store.ts, s3_upload.ts (senders), s3_client.ts (the body's hash).

import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import { crc32 } from "node:zlib";

const SLICE_BYTES = 512 * 1024;
/** What Linux lets a socket's send buffer grow to (net.ipv4.tcp_wmem). */
const SYSTEM_BUFFER_BYTES = 4 * 1024 * 1024;

export class BodyStream extends Readable {
  /** The whole body, for its hash. */
  readonly bytes: Uint8Array;
  readonly #onProgress: (hiddenBytes: number) => void;
  #taken = 0;
  #ended = false;

  /** `onProgress` hears how much the system may hold that has not left the machine yet. */
  constructor(bytes: Uint8Array, onProgress: (hiddenBytes: number) => void) {
    super({ highWaterMark: SLICE_BYTES });
    this.bytes = bytes;
    this.#onProgress = onProgress;
  }

  override _read(): void {
    this.#onProgress(Math.min(this.#taken, SYSTEM_BUFFER_BYTES));
    const slice = this.bytes.subarray(this.#taken, this.#taken + SLICE_BYTES);
    if (slice.length === 0) {
      this.#ended = true;
      this.push(null);
      return;
    }
    this.#taken += slice.length;
    this.push(Buffer.from(slice.buffer, slice.byteOffset, slice.length));
  }

  get sent(): boolean {
    return this.#ended || this.#taken === this.bytes.length;
  }
}

/** The CRC32 of a body as S3 writes it: base64 of four big-endian bytes. */
export function crc32Base64(bytes: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(bytes));
  return sum.toString("base64");
}
