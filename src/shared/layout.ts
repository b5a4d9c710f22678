// The map of the one memory that all rooms of a device share.
//
//   | words | counters | lock table | intent map | stale map | descriptors | tag buffers | pool units |
//
// It is a shared WebAssembly.Memory: page aligned, never moved, at the same address in every room,
// usable by Atomics.wait and notify, not charged to any heap, and resident only where it was touched
// (the pool's units may be taken from the system at start: src/target/replica_target.ts).
// It is sized at start and never grows: promise 4 (memory is bounded) rests on that.
//
// Who writes what:
//   words.poolHead            queues, by compare-and-exchange (shared/pool.ts)
//   words.poolTail            replicator
//   words.replicatorBell      anybody, by add and notify; words.replicatorAsleep: replicator
//   words.guestFlushes        queues, by add
//   words.captureMode         replicator and main (shared/capture_mode.ts)
//   words.lockWaiters         queues, by add and sub
//   words.poolWaiters         queues, by add and sub
//   words.intentWaiters       queues, by add and sub
//   words.gateEpoch           replicator
//   words.staleChunks         queues, by add; replicator, by sub (shared/stale_map.ts)
//   words.historyEnd          queues, by compare-and-exchange; replicator (shared/history.ts)
//   words.failedFlush         anybody; words.untoldFlush: anybody, queues by exchange (shared/failed_flush.ts)
//   queue words               doorbellRung: anybody, by exchange; the others: that queue
//   counters                  one row per queue and one for the replicator, each written by its room only
//   lock table                queues, by compare-and-exchange and and
//   intent map                queues and replicator (shared/intent_map.ts)
//   stale map                 queues, by or; replicator, by and
//   descriptors, units        the queue that reserved them until published, then the replicator

import { invariant } from "../base/assert.ts";
import { alignUp, GiB, KiB, SECTOR } from "../base/units.ts";
import { REGION_BITS_BYTES, regionMapPages } from "../format/region_map.ts";

const CACHE_LINE_WORDS = 16;
const WASM_PAGE = 65536;
const PAGE = 4096;

/** Single words, each alone on its cache line; the values are indexes into `words`. */
export const WORD = {
  poolHead: 0 * CACHE_LINE_WORDS,
  poolTail: 1 * CACHE_LINE_WORDS,
  replicatorBell: 2 * CACHE_LINE_WORDS,
  replicatorAsleep: 3 * CACHE_LINE_WORDS,
  guestFlushes: 4 * CACHE_LINE_WORDS,
  captureMode: 5 * CACHE_LINE_WORDS,
  lockWaiters: 6 * CACHE_LINE_WORDS,
  poolWaiters: 7 * CACHE_LINE_WORDS,
  intentWaiters: 8 * CACHE_LINE_WORDS,
  gateEpoch: 9 * CACHE_LINE_WORDS,
  staleChunks: 10 * CACHE_LINE_WORDS,
  historyEnd: 11 * CACHE_LINE_WORDS,
  failedFlush: 12 * CACHE_LINE_WORDS,
  untoldFlush: 13 * CACHE_LINE_WORDS,
} as const;
const SINGLE_WORDS = 14 * CACHE_LINE_WORDS;

/** The stale map has a bit per block, where that takes no more than 16 MiB; its chunks grow up to 64 KiB. */
const CHUNKS_MAX = 2 ** 27;
const CHUNK_BYTES_MAX = 64 * KiB;

/** Words of each queue; add `queueWord(qid)`. */
export const QUEUE_WORD = {
  doorbellRung: 0,
  lockWaiters: 1,
  poolWaiters: 2,
  intentWaiters: 3,
  /** Two words: changes in flight that passed the gate in an even and in an odd epoch. */
  gated: 4,
} as const;

/** Index in `words` of the first word of queue `qid`. */
export function queueWord(qid: number): number {
  return SINGLE_WORDS + qid * CACHE_LINE_WORDS;
}

/** Doubles per row of counters; shared/counters.ts names them. */
export const COUNTER_ROW = 32;
/** Words of the interval lock's table: 32 blocks each, so 2 Mi blocks before two of them share a bit. */
export const LOCK_WORDS = 65536;
/** Words of a unit's descriptor; shared/pool.ts names them. */
export const DESCRIPTOR_WORDS = 4;
/** Words of a page of each bitmap of the write-intent map: 32 regions each. */
export const INTENT_PAGE_WORDS = REGION_BITS_BYTES / 4;
/** Three bitmaps, a sequence and a lock word that is alone in its eight bytes. */
const INTENT_BYTES_PER_PAGE = 3 * REGION_BITS_BYTES + 16;
/** Bytes beyond the I/O buffer of a tag, for reading back the whole blocks around a write. */
export function tagSlackBytes(unitBytes: number): number {
  return 2 * unitBytes;
}

export interface SharedShape {
  readonly queues: number;
  readonly depth: number;
  /** Greatest request in bytes. */
  readonly ioBufBytes: number;
  /** The replica's data block: the unit of the pool and of the interval lock. */
  readonly unitBytes: number;
  readonly poolBytes: number;
  /** Granule of the write-intent map: whole sectors; shared/region_grid.ts. */
  readonly regionBytes: number;
  readonly deviceSizeBytes: number;
  /** Replica blocks per chunk of the stale map; for tests of what large devices have. */
  readonly chunkBlocksMin?: number;
}

/** Byte offsets of the areas, and the sizes that follow from the shape. */
export interface SharedLayout extends SharedShape {
  readonly poolUnits: number;
  readonly tagStrideBytes: number;
  readonly countersOffset: number;
  readonly locksOffset: number;
  readonly regionCount: number;
  /** Pages of the write-intent map that tell about this device. */
  readonly intentPages: number;
  /** Three bitmaps, then a lock word and a sequence per page. */
  readonly intentOffset: number;
  /** One page per page of the map, from which it is written to the primary. */
  readonly stagingOffset: number;
  readonly deviceBlocks: number;
  /** Replica blocks per chunk of the stale map. */
  readonly chunkBlocks: number;
  readonly staleOffset: number;
  readonly descriptorsOffset: number;
  readonly tagBuffersOffset: number;
  readonly unitsOffset: number;
  readonly totalBytes: number;
}

/** What a WebAssembly memory with 64-bit addresses may take (V8: 2^18 pages). */
export const SHARED_BYTES_MAX = 16 * GiB;

/** Whether the pool holds two of the greatest requests, each with the whole blocks around it. */
export function poolHoldsRequests(
  { poolBytes, ioBufBytes, unitBytes }: Pick<SharedShape, "poolBytes" | "ioBufBytes" | "unitBytes">,
): boolean {
  const units = Math.floor(poolBytes / unitBytes);
  return units * unitBytes >= 2 * (ioBufBytes + tagSlackBytes(unitBytes));
}

export function sharedLayout(shape: SharedShape): SharedLayout {
  const { queues, depth, ioBufBytes, unitBytes, poolBytes, regionBytes } = shape;
  invariant(unitBytes % PAGE === 0, "the pool's unit is a multiple of a page");
  invariant(regionBytes > 0 && regionBytes % SECTOR === 0, "a region has whole sectors");
  invariant(poolHoldsRequests(shape), "the pool holds two requests");
  const poolUnits = Math.floor(poolBytes / unitBytes);
  const tagStrideBytes = alignUp(ioBufBytes + tagSlackBytes(unitBytes), PAGE);
  const countersOffset = alignUp((SINGLE_WORDS + queues * CACHE_LINE_WORDS) * 4, PAGE);
  const locksOffset = alignUp(countersOffset + (queues + 1) * COUNTER_ROW * 8, PAGE);
  const regionCount = Math.ceil(shape.deviceSizeBytes / regionBytes);
  const intentPages = regionMapPages(regionCount);
  const intentOffset = locksOffset + LOCK_WORDS * 4;
  const stagingOffset = alignUp(intentOffset + intentPages * INTENT_BYTES_PER_PAGE, PAGE);
  const deviceBlocks = Math.ceil(shape.deviceSizeBytes / unitBytes);
  // A copy of a chunk must fit beside what else is in the pool.
  const chunkBlocks = Math.max(
    1,
    Math.min(
      shape.chunkBlocksMin ?? 2 ** Math.ceil(Math.log2(deviceBlocks / CHUNKS_MAX)),
      CHUNK_BYTES_MAX / unitBytes,
      Math.floor(poolUnits / 4),
    ),
  );
  const staleOffset = stagingOffset + intentPages * PAGE;
  const staleBytes = Math.ceil(deviceBlocks / chunkBlocks / 32) * 4;
  const descriptorsOffset = alignUp(staleOffset + staleBytes, PAGE);
  const tagBuffersOffset = alignUp(descriptorsOffset + poolUnits * DESCRIPTOR_WORDS * 4, PAGE);
  const unitsOffset = alignUp(tagBuffersOffset + queues * depth * tagStrideBytes, PAGE);
  return {
    ...shape,
    poolUnits,
    tagStrideBytes,
    countersOffset,
    locksOffset,
    regionCount,
    intentPages,
    intentOffset,
    stagingOffset,
    deviceBlocks,
    chunkBlocks,
    staleOffset,
    descriptorsOffset,
    tagBuffersOffset,
    unitsOffset,
    totalBytes: unitsOffset + poolUnits * unitBytes,
  };
}

/** Allocates the shared memory of a device: zeroed, resident only where it will be touched. */
export function allocateShared(layout: SharedLayout): SharedArrayBuffer {
  const pages = Math.ceil(layout.totalBytes / WASM_PAGE);
  const descriptor = layout.totalBytes <= 4 * GiB
    ? { initial: pages, maximum: pages, shared: true }
    // Above 4 GiB the memory takes 64-bit addresses; the DOM types do not know that form yet.
    : { address: "i64", initial: BigInt(pages), maximum: BigInt(pages), shared: true };
  const memory = new WebAssembly.Memory(descriptor as WebAssembly.MemoryDescriptor);
  const buffer: unknown = memory.buffer;
  invariant(buffer instanceof SharedArrayBuffer, "a shared memory has a shared buffer");
  return buffer;
}

/** Typed views of the areas; each room makes its own from the buffer it was sent. */
export interface SharedViews {
  readonly layout: SharedLayout;
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly counters: Float64Array<SharedArrayBuffer>;
  readonly locks: Int32Array<SharedArrayBuffer>;
  /** The write-intent map; shared/intent_map.ts says what they mean. */
  readonly intent: IntentViews;
  /** A bit per chunk; shared/stale_map.ts. */
  readonly stale: Int32Array<SharedArrayBuffer>;
  readonly descriptors: Int32Array<SharedArrayBuffer>;
  /** The whole memory: tag buffers and units are copied into each other inside it. */
  readonly memory: Uint8Array<SharedArrayBuffer>;
}

/** Bit r mod 32 of word r / 32 of a bitmap is region r: the order of the bytes on the primary. */
export interface IntentViews {
  readonly durable: Int32Array<SharedArrayBuffer>;
  readonly wanted: Int32Array<SharedArrayBuffer>;
  readonly touched: Int32Array<SharedArrayBuffer>;
  /** Per page. */
  readonly sequences: Float64Array<SharedArrayBuffer>;
  /** Per page, every second word. */
  readonly locks: Int32Array<SharedArrayBuffer>;
  readonly staging: Int32Array<SharedArrayBuffer>;
}

function intentViews(buffer: SharedArrayBuffer, layout: SharedLayout): IntentViews {
  const { intentPages, intentOffset, stagingOffset } = layout;
  const words = intentPages * INTENT_PAGE_WORDS;
  const end = intentOffset + 3 * words * 4;
  return {
    durable: new Int32Array(buffer, intentOffset, words),
    wanted: new Int32Array(buffer, intentOffset + words * 4, words),
    touched: new Int32Array(buffer, intentOffset + 2 * words * 4, words),
    sequences: new Float64Array(buffer, end, intentPages),
    locks: new Int32Array(buffer, end + intentPages * 8, 2 * intentPages),
    staging: new Int32Array(buffer, stagingOffset, intentPages * PAGE / 4),
  };
}

export function sharedViews(buffer: SharedArrayBuffer, layout: SharedLayout): SharedViews {
  return {
    layout,
    words: new Int32Array(buffer, 0, layout.countersOffset / 4),
    counters: new Float64Array(buffer, layout.countersOffset, (layout.queues + 1) * COUNTER_ROW),
    locks: new Int32Array(buffer, layout.locksOffset, LOCK_WORDS),
    intent: intentViews(buffer, layout),
    stale: new Int32Array(
      buffer,
      layout.staleOffset,
      Math.ceil(layout.deviceBlocks / layout.chunkBlocks / 32),
    ),
    descriptors: new Int32Array(
      buffer,
      layout.descriptorsOffset,
      layout.poolUnits * DESCRIPTOR_WORDS,
    ),
    memory: new Uint8Array(buffer),
  };
}
