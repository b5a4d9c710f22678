// The first copy of a primary to its replica (R11): a freshly formatted primary may hold data that the
// replica has never seen. Runs before the device goes live, so nothing changes under it.
//
// Invariants:
// - Nothing is published before the last commit: the replica's first checkpoint is the whole device.
//   A crash before that leaves staged segments, which attaching removes, and the sync starts anew.
// - Every block of the device is covered: written, or declared zero. So the result is right also when
//   the replica was not empty.
// - Memory: two buffers of `batchBytes`. One is read into while the other is being committed.
//
// Takes source, writer and time as parameters; the caller stores the superblock's new state.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { invariant } from "../base/assert.ts";
import { alignDown, alignUp, MiB } from "../base/units.ts";
import type { ByteSpan } from "../primary/device_data.ts";
import { needsOperator } from "../replica/store_error.ts";
import type { BlockRange, CheckpointBatch } from "../format/checkpoint_batch.ts";
import { untilDone } from "./patience.ts";

export const SYNC_BATCH_BYTES = 16 * MiB;
const READ_BYTES = MiB;
/** Words of 32 bits that are compared at a time. */
const WORD_BYTES = 4;

/** The device to copy (src/primary/device_data.ts). */
export interface SyncSource {
  readonly sizeBytes: number;
  nextData(offsetBytes: number): ByteSpan | null;
  readInto(offsetBytes: number, into: Uint8Array): Promise<void>;
}

/** The replica to fill (src/replica/hyperfile_writer.ts). */
export interface SyncWriter {
  readonly dataBlockBytes: number;
  /** Data blocks that fit a batch for certain. */
  readonly safeBatchBlocks: number;
  commit(
    batch: CheckpointBatch,
    options: { mtimeMs: number; sizeBytes: number; publish: boolean; signal?: AbortSignal },
  ): Promise<{ readonly cno: number; readonly segmentBytes: number }>;
}

export interface SyncProgress {
  /** Bytes of the device that are dealt with, copied or skipped. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Bytes that had to be copied. */
  readonly copiedBytes: number;
  readonly bytesPerSecond: number;
  /** Null as long as nothing is known. */
  readonly remainingMs: number | null;
  /** A commit is being tried again; the store's complaint. */
  readonly trouble?: string;
}

export interface InitialSyncOptions {
  readonly source: SyncSource;
  readonly writer: SyncWriter;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Page-aligned memory that stays reachable until the sync ends. */
  allocate(sizeBytes: number): Uint8Array;
  readonly batchBytes?: number;
  readonly onProgress?: (progress: SyncProgress) => void;
  readonly signal?: AbortSignal;
}

export interface SyncResult {
  /** The checkpoint that holds the whole device. */
  readonly cno: number;
  readonly copiedBytes: number;
  readonly elapsedMs: number;
}

/**
 * Copies the device and publishes one checkpoint. Waits for a store that is unavailable; rejects on
 * anything that waiting does not heal, and with `closed` when `signal` is aborted.
 */
export async function initialSync(options: InitialSyncOptions): Promise<SyncResult> {
  const { writer, batchBytes = SYNC_BATCH_BYTES } = options;
  const { dataBlockBytes, safeBatchBlocks } = writer;
  const blocks = Math.max(1, Math.min(Math.floor(batchBytes / dataBlockBytes), safeBatchBlocks));
  const buffers = [0, 1].map(() => options.allocate(blocks * dataBlockBytes));
  const run = new SyncRun(options);
  let committing: Promise<number> = Promise.resolve(0);
  for (let round = 0;; round++) {
    // The commit of the other buffer goes on while this one is filled. Both are waited for also when
    // one fails: nobody may touch the buffers any more when the caller gets them back.
    const [batch] = await bothSettled(run.fill(buffers[round % 2]), committing);
    committing = run.commit(batch);
    if (batch.last) break;
  }
  return run.result(await committing);
}

async function bothSettled<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

/** A batch over a stretch of the device: its data blocks, and everything else as zeros. */
class StretchBatch implements CheckpointBatch {
  readonly #bytes: Uint8Array;
  readonly #blockBytes: number;
  readonly #indices: number[] = [];
  readonly #zeroRanges: BlockRange[] = [];
  readonly #startBlock: number;
  /** One after the last block that the batch says anything about. */
  #endBlock: number;
  last = false;

  constructor(bytes: Uint8Array, blockBytes: number, startBlock: number) {
    this.#bytes = bytes;
    this.#blockBytes = blockBytes;
    this.#startBlock = startBlock;
    this.#endBlock = startBlock;
  }

  get blockCount(): number {
    return this.#indices.length;
  }

  get zeroRanges(): readonly BlockRange[] {
    return this.#zeroRanges;
  }

  get startBlock(): number {
    return this.#startBlock;
  }

  get endBlock(): number {
    return this.#endBlock;
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.#bytes.length - this.#indices.length * this.#blockBytes;
  }

  blockIndex(i: number): number {
    return this.#indices[i];
  }

  blockBytes(i: number): Uint8Array {
    return this.#bytes.subarray(i * this.#blockBytes, (i + 1) * this.#blockBytes);
  }

  /** Where the next blocks are to be read to. */
  tail(lengthBytes: number): Uint8Array {
    const start = this.#bytes.length - this.room;
    return this.#bytes.subarray(start, start + lengthBytes);
  }

  /** Blocks up to `endBlock` hold zeros. */
  addZeroes(endBlock: number): void {
    if (endBlock <= this.#endBlock) return;
    const before = this.#zeroRanges.at(-1);
    const start = this.#endBlock;
    if (before !== undefined && before.startBlock + before.blockCount === start) {
      const blockCount = endBlock - before.startBlock;
      this.#zeroRanges[this.#zeroRanges.length - 1] = { startBlock: before.startBlock, blockCount };
    } else {
      this.#zeroRanges.push({ startBlock: start, blockCount: endBlock - start });
    }
    this.#endBlock = endBlock;
  }

  /** Takes over `count` blocks that were read to tail(): those of zeros only as a range. */
  addRead(count: number): void {
    let from = this.#bytes.length - this.room;
    for (let i = 0; i < count; i++, from += this.#blockBytes) {
      if (isZero(this.#bytes, from, this.#blockBytes)) {
        this.addZeroes(this.#endBlock + 1);
        continue;
      }
      const to = this.#indices.length * this.#blockBytes;
      if (to !== from) this.#bytes.copyWithin(to, from, from + this.#blockBytes);
      this.#indices.push(this.#endBlock++);
    }
  }
}

class SyncRun {
  readonly #options: InitialSyncOptions;
  readonly #blockBytes: number;
  readonly #startedMs: number;
  #position = 0;
  #span: ByteSpan | null = null;
  #copiedBytes = 0;

  constructor(options: InitialSyncOptions) {
    const { source, writer, clock } = options;
    this.#options = options;
    this.#blockBytes = writer.dataBlockBytes;
    this.#startedMs = clock.nowMs();
    invariant(source.sizeBytes % this.#blockBytes === 0, "a device has whole blocks");
  }

  /** Reads on from where the last batch ended until `buffer` is full or the device ends. */
  async fill(buffer: Uint8Array): Promise<StretchBatch> {
    const { source } = this.#options;
    const blockBytes = this.#blockBytes;
    const batch = new StretchBatch(buffer, blockBytes, this.#position / blockBytes);
    while (batch.room > 0) {
      this.#throwIfAborted();
      const span = this.#nextSpan();
      batch.addZeroes((span?.startBytes ?? source.sizeBytes) / blockBytes);
      if (span === null) break;
      const chunk = Math.min(Math.max(READ_BYTES, blockBytes), batch.room);
      const lengthBytes = Math.min(chunk, span.endBytes - span.startBytes);
      await source.readInto(span.startBytes, batch.tail(lengthBytes));
      batch.addRead(lengthBytes / blockBytes);
      this.#position = span.startBytes + lengthBytes;
    }
    this.#position = batch.endBlock * blockBytes;
    batch.last = this.#position === source.sizeBytes;
    return batch;
  }

  /** Commits for as long as it takes; resolves to the checkpoint's number. */
  async commit(batch: StretchBatch): Promise<number> {
    const { writer, source, clock, random, signal } = this.#options;
    const options = {
      mtimeMs: clock.wallMs(),
      sizeBytes: source.sizeBytes,
      publish: batch.last,
      signal,
    };
    const onRetry = (error: ReplicaError) => this.#report(batch.startBlock, error.message);
    const { cno } = await untilDone(
      { clock, random, signal, heals: isWorthWaiting, onRetry },
      () => writer.commit(batch, options),
    );
    await hit("attach.after-copied-batch");
    this.#copiedBytes += batch.blockCount * this.#blockBytes;
    this.#report(batch.endBlock);
    return cno;
  }

  result(cno: number): SyncResult {
    const elapsedMs = this.#options.clock.nowMs() - this.#startedMs;
    return { cno, copiedBytes: this.#copiedBytes, elapsedMs };
  }

  /** The next span of whole blocks at or after the position. */
  #nextSpan(): ByteSpan | null {
    if (this.#span === null || this.#span.endBytes <= this.#position) {
      const found = this.#options.source.nextData(this.#position);
      if (found === null) return this.#span = null;
      this.#span = {
        startBytes: alignDown(found.startBytes, this.#blockBytes),
        endBytes: alignUp(found.endBytes, this.#blockBytes),
      };
    }
    const startBytes = Math.max(this.#span.startBytes, this.#position);
    return { startBytes, endBytes: this.#span.endBytes };
  }

  #report(endBlock: number, trouble?: string): void {
    const { source, clock, onProgress } = this.#options;
    const doneBytes = endBlock * this.#blockBytes;
    const elapsedMs = clock.nowMs() - this.#startedMs;
    const bytesPerSecond = elapsedMs > 0 ? doneBytes / elapsedMs * 1000 : 0;
    onProgress?.({
      doneBytes,
      totalBytes: source.sizeBytes,
      copiedBytes: this.#copiedBytes,
      bytesPerSecond,
      remainingMs: bytesPerSecond > 0
        ? (source.sizeBytes - doneBytes) / bytesPerSecond * 1000
        : null,
      trouble,
    });
  }

  #throwIfAborted(): void {
    if (!this.#options.signal?.aborted) return;
    throw new ReplicaError("closed", "Cannot finish the first copy to the replica: it was stopped");
  }
}

/** Transport trouble heals; keys, permissions and a full store want somebody who looks. */
function isWorthWaiting(error: ReplicaError): boolean {
  return error.kind === "unavailable" && !needsOperator(error);
}

function isZero(bytes: Uint8Array, from: number, length: number): boolean {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + from, length / WORD_BYTES);
  for (let i = 0; i < words.length; i++) {
    if (words[i] !== 0) return false;
  }
  return true;
}
