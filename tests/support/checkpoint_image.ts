// What a checkpoint of a replica in a directory holds, and whether two images are the same.

import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { openObjectStore } from "../../src/replica/open.ts";
import { parseReplicaUri } from "../../src/replica/replica_uri.ts";
import { ONE_SHOT_RETRY } from "../../src/replica/retry_store.ts";
import { assert } from "./assert.ts";

const READ_BYTES = 16 << 20;

export interface CheckpointImage {
  readonly cno: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Checkpoint `cno`, by default the newest, of the replica in `directory`. */
export async function checkpointImage(directory: string, cno?: number): Promise<CheckpointImage> {
  const location = parseReplicaUri(`file://${directory}`, "the replica");
  const store = await openObjectStore(location, { access: "read", retry: ONE_SHOT_RETRY });
  try {
    const reader = await HyperfileReader.open(store, { cno });
    const bytes = new Uint8Array(reader.sizeBytes);
    for (let at = 0; at < bytes.length; at += READ_BYTES) {
      await reader.read(at, bytes.subarray(at, Math.min(at + READ_BYTES, bytes.length)));
    }
    return { cno: reader.cno, bytes };
  } finally {
    await store.close();
  }
}

/** The first `lengthBytes` of a file. */
export function imageOfFile(path: string, lengthBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(lengthBytes);
  using file = Deno.openSync(path);
  for (let done = 0; done < lengthBytes;) {
    const count = file.readSync(bytes.subarray(done));
    assert(count !== null, `${path} ends at ${done}`);
    done += count;
  }
  return bytes;
}

/** Fails unless both images are the same, of whole words of 8 bytes. */
export function assertSameImage(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert(
    actual.length === expected.length,
    `${what}: ${actual.length} bytes, not ${expected.length}`,
  );
  const at = firstDifference(actual, expected);
  assert(at < 0, `${what}: they differ from byte ${at} on`);
}

/** The first of the words of 8 bytes in which two images of the same length differ; -1: there is none. */
export function firstDifference(actual: Uint8Array, expected: Uint8Array): number {
  const a = new BigUint64Array(actual.buffer, actual.byteOffset, actual.length / 8);
  const b = new BigUint64Array(expected.buffer, expected.byteOffset, expected.length / 8);
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return i * 8;
  }
  return -1;
}
