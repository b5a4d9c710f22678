// What the simulated store keeps, and how it looks to a client.

import { ChunkReader, totalBytes } from "../../src/replica/gather.ts";
import type { ObjectInfo } from "../../src/replica/object_store.ts";
import type { Timeline } from "./history.ts";
import type { Process } from "./scheduler.ts";

export interface SimObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modifiedMs: number;
  /** Who sent it, and what was the history when it did. */
  readonly process: Process;
  readonly timeline: Timeline;
}

/** Keys with chance in them look alike in a trace. */
export function nameOf(key: string): string {
  return key.startsWith("probe-") ? "probe" : key;
}

export function infoOf(key: string, object: SimObject): ObjectInfo {
  return { key, size: object.bytes.length, etag: object.etag, modifiedMs: object.modifiedMs };
}

export function gather(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(totalBytes(chunks));
  new ChunkReader(chunks).read(bytes);
  return bytes;
}

/** Made of the content, as S3's are: the same bytes put again have the same etag. */
export function etagOf(bytes: Uint8Array): string {
  let a = 0x811c9dc5 ^ bytes.length;
  let b = 0x9e3779b9;
  const words = new Int32Array(bytes.buffer, 0, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) {
    a = Math.imul(a ^ words[i], 0x01000193);
    b = Math.imul(b, 0x85ebca6b) + words[i] | 0;
  }
  for (let i = words.length * 4; i < bytes.length; i++) a = Math.imul(a ^ bytes[i], 0x01000193);
  return `"${(a >>> 0).toString(16)}-${(b >>> 0).toString(16)}"`;
}
