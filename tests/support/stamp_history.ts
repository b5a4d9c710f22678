// Checks a replica and a primary against what tests/e2e/programs/stamp_writer.ts wrote in the guest.

import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { listCheckpoints } from "../../src/replica/inode_reader.ts";
import { openObjectStore } from "../../src/replica/open.ts";
import { parseReplicaUri } from "../../src/replica/replica_uri.ts";
import { ONE_SHOT_RETRY } from "../../src/replica/retry_store.ts";
import { assert, assertEquals } from "./assert.ts";
import { BLOCK, recordWords, StampChecker, type StampShape } from "./stamps.ts";

export interface StampHistory {
  readonly shape: StampShape;
  readonly issued: readonly number[];
  readonly acknowledged: readonly number[];
  /** Last write of each thread that an fsync covers. */
  readonly synced: readonly number[];
  /** Errno that ended it; 0: its time was up. */
  readonly failed: number;
}

export function readHistory(folder: string): { history: StampHistory; checker: StampChecker } {
  const history: StampHistory = JSON.parse(Deno.readTextFileSync(`${folder}/history.json`));
  const logs = history.issued.map((_, thread) =>
    new Int32Array(Deno.readFileSync(`${folder}/thread-${thread}.bin`).buffer)
  );
  return { history, checker: new StampChecker(history.shape, logs) };
}

/** What a power cut left of a history that was written live. Each checker checks one line of images. */
export class LiveStamps {
  readonly shape: StampShape;
  readonly synced: readonly number[];
  readonly #logs: readonly Int32Array[];

  constructor(folder: string, shape: StampShape) {
    const threads = Array.from({ length: shape.threads }, (_, thread) => thread);
    this.shape = shape;
    this.synced = threads.map((n) => readWords(`${folder}/synced-${n}.bin`).at(-1) ?? 0);
    this.#logs = threads.map((n) => {
      const words = readWords(`${folder}/thread-${n}.bin`);
      return words.subarray(0, words.length - words.length % recordWords(shape));
    });
  }

  checker(): StampChecker {
    return new StampChecker(this.shape, this.#logs);
  }
}

/** Empty when there is no such file. */
function readWords(path: string): Int32Array {
  try {
    const bytes = Deno.readFileSync(path);
    return new Int32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Int32Array(0);
    throw error;
  }
}

export interface ReplicaVerdict {
  readonly checkpoints: number;
  /** Stamped writes that the newest checkpoint holds. */
  readonly held: number;
  /** The newest checkpoint's image. */
  readonly head: Uint8Array;
}

/** Fails unless every checkpoint of the replica in `directory` is a prefix of the history. */
export async function checkReplica(
  directory: string,
  folder: string,
): Promise<ReplicaVerdict> {
  const { history, checker } = readHistory(folder);
  const location = parseReplicaUri(`file://${directory}`, "the replica");
  const store = await openObjectStore(location, { access: "read", retry: ONE_SHOT_RETRY });
  try {
    const newest = await HyperfileReader.open(store);
    const checkpoints = await Array.fromAsync(listCheckpoints(store));
    const image = new Uint8Array(history.shape.blocks * BLOCK);
    let held = 0;
    for (const { cno } of checkpoints) {
      const reader = await HyperfileReader.open(store, { cno });
      await reader.read(0, image);
      held = checker.check(image);
    }
    const head = new Uint8Array(newest.sizeBytes);
    for (let at = 0; at < head.length; at += 16 << 20) {
      await newest.read(at, head.subarray(at, Math.min(at + (16 << 20), head.length)));
    }
    return { checkpoints: checkpoints.length, held, head };
  } finally {
    await store.close();
  }
}

/** Fails unless the first `head.length` bytes of the primary are exactly `head`. */
export async function checkEqual(primaryPath: string, head: Uint8Array): Promise<void> {
  using file = await Deno.open(primaryPath, { read: true });
  const chunk = new Uint8Array(1 << 20);
  for (let at = 0; at < head.length;) {
    const count = await file.read(chunk);
    assert(count !== null, `the primary ends at ${at}`);
    const part = Math.min(count, head.length - at);
    for (let i = 0; i < part; i++) {
      if (chunk[i] !== head[at + i]) assertEquals(chunk[i], head[at + i], `byte ${at + i}`);
    }
    at += part;
  }
}
