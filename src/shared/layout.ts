// The map of the one memory that all rooms of a device share.
//
//   | words | counters | lock table | descriptors | tag buffers, queue by queue | pool units |
//
// It is a shared WebAssembly.Memory: page aligned, never moved, at the same address in every room,
// usable by Atomics.wait and notify, not charged to any heap, and resident only where it was touched
// (the pool's units may be taken from the system at start: src/replica_target.ts).
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
//   queue words               doorbellRung: anybody, by exchange; lock and pool waiters: that queue
//   counters                  one row per queue and one for the replicator, each written by its room only
//   lock table                queues, by compare-and-exchange and and
//   descriptors, units        the queue that reserved them until published, then the replicator

import { invariant } from "../base/assert.ts";
import { alignUp, GiB } from "../base/units.ts";

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
} as const;
const SINGLE_WORDS = 8 * CACHE_LINE_WORDS;

/** Words of each queue; add `queueWord(qid)`. */
export const QUEUE_WORD = { doorbellRung: 0, lockWaiters: 1, poolWaiters: 2 } as const;

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
}

/** Byte offsets of the areas, and the sizes that follow from the shape. */
export interface SharedLayout extends SharedShape {
  readonly poolUnits: number;
  readonly tagStrideBytes: number;
  readonly countersOffset: number;
  readonly locksOffset: number;
  readonly descriptorsOffset: number;
  readonly tagBuffersOffset: number;
  readonly unitsOffset: number;
  readonly totalBytes: number;
}

export function sharedLayout(shape: SharedShape): SharedLayout {
  const { queues, depth, ioBufBytes, unitBytes, poolBytes } = shape;
  invariant(unitBytes % PAGE === 0, "the pool's unit is a multiple of a page");
  const poolUnits = Math.floor(poolBytes / unitBytes);
  invariant(
    poolUnits * unitBytes >= 2 * (ioBufBytes + 2 * unitBytes),
    "the pool holds two requests",
  );
  const tagStrideBytes = alignUp(ioBufBytes + tagSlackBytes(unitBytes), PAGE);
  const countersOffset = alignUp((SINGLE_WORDS + queues * CACHE_LINE_WORDS) * 4, PAGE);
  const locksOffset = alignUp(countersOffset + (queues + 1) * COUNTER_ROW * 8, PAGE);
  const descriptorsOffset = locksOffset + LOCK_WORDS * 4;
  const tagBuffersOffset = alignUp(descriptorsOffset + poolUnits * DESCRIPTOR_WORDS * 4, PAGE);
  const unitsOffset = alignUp(tagBuffersOffset + queues * depth * tagStrideBytes, PAGE);
  return {
    ...shape,
    poolUnits,
    tagStrideBytes,
    countersOffset,
    locksOffset,
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
  readonly descriptors: Int32Array<SharedArrayBuffer>;
  /** The whole memory: tag buffers and units are copied into each other inside it. */
  readonly memory: Uint8Array<SharedArrayBuffer>;
}

export function sharedViews(buffer: SharedArrayBuffer, layout: SharedLayout): SharedViews {
  return {
    layout,
    words: new Int32Array(buffer, 0, layout.countersOffset / 4),
    counters: new Float64Array(buffer, layout.countersOffset, (layout.queues + 1) * COUNTER_ROW),
    locks: new Int32Array(buffer, layout.locksOffset, LOCK_WORDS),
    descriptors: new Int32Array(
      buffer,
      layout.descriptorsOffset,
      layout.poolUnits * DESCRIPTOR_WORDS,
    ),
    memory: new Uint8Array(buffer),
  };
}
