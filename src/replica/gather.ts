// Bodies that come in many chunks: merging neighbours, copying a range into one buffer.
//
// Invariant: nothing here keeps a chunk after its caller's call has returned.

import { invariant } from "../base/assert.ts";

/** Bytes of all chunks together. */
export function totalBytes(chunks: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return bytes;
}

/** The same bytes in fewer views: chunks that follow each other in one buffer become one. */
export function mergeNeighbours(chunks: readonly Uint8Array[]): Uint8Array[] {
  const merged: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (chunk.length === 0) continue;
    const last = merged.at(-1);
    if (
      last !== undefined && last.buffer === chunk.buffer &&
      last.byteOffset + last.length === chunk.byteOffset
    ) {
      merged[merged.length - 1] = new Uint8Array(
        last.buffer,
        last.byteOffset,
        last.length + chunk.length,
      );
    } else {
      merged.push(chunk);
    }
  }
  return merged;
}

/** Copies consecutive ranges of a list of chunks; each call goes on where the last one ended. */
export class ChunkReader {
  readonly #chunks: readonly Uint8Array[];
  #index = 0;
  #offset = 0;

  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks;
  }

  /** Fills `into` with the next bytes; there must be as many. */
  read(into: Uint8Array): void {
    let filled = 0;
    while (filled < into.length) {
      invariant(this.#index < this.#chunks.length, "a body has the bytes that were counted");
      const chunk = this.#chunks[this.#index];
      const take = Math.min(into.length - filled, chunk.length - this.#offset);
      into.set(chunk.subarray(this.#offset, this.#offset + take), filled);
      filled += take;
      this.#offset += take;
      if (this.#offset === chunk.length) {
        this.#index++;
        this.#offset = 0;
      }
    }
  }
}
