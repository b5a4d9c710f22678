// What a segment's own header says about its data blocks, to cross-check the tree: the entry at a
// data block's place must name the block that the tree looks for. It catches a damaged key or
// pointer that would otherwise give well-formed wrong data.
//
// Summaries (header and entries) are kept in a cache bounded in bytes.

import { dataError } from "../base/errors.ts";
import { KiB } from "../base/units.ts";
import { isInSegment, offsetOf, type PointerFormat, segmentIdOf } from "../format/block_ptr.ts";
import { type Geometry, shiftOf } from "../format/inode.ts";
import {
  decodeSegmentHeader,
  ENTRY_WORDS,
  segmentAreas,
  SegmentHeader,
  segmentKey,
  SUMMARY_BYTES_MAX,
} from "../format/segment.ts";
import type { Limiter } from "./limiter.ts";
import { ByteLru } from "./node_cache.ts";
import type { ObjectStore } from "./object_store.ts";
import type { Extent } from "./tree_walk.ts";

/** Enough for the summary of a segment of 4 MiB with blocks of 4 KiB. */
const FIRST_READ_BYTES = 16 * KiB;
/** Segments whose summaries are held at once, whatever the cache holds. */
const SEGMENTS_PER_STEP = 32;
const TWO_32 = 2 ** 32;

class Summary {
  readonly dataOffset: number;
  readonly dataBlocks: number;
  readonly entries: Uint32Array;

  constructor(dataOffset: number, dataBlocks: number, entries: Uint32Array) {
    this.dataOffset = dataOffset;
    this.dataBlocks = dataBlocks;
    this.entries = entries;
  }

  get byteLength(): number {
    return this.entries.byteLength + 64;
  }
}

export class SegmentIndex {
  readonly #store: ObjectStore;
  readonly #limiter: Limiter;
  readonly #geometry: Geometry;
  readonly #cache: ByteLru<Summary>;

  constructor(options: {
    store: ObjectStore;
    limiter: Limiter;
    geometry: Geometry;
    cacheBytes: number;
  }) {
    this.#store = options.store;
    this.#limiter = options.limiter;
    this.#geometry = options.geometry;
    this.#cache = new ByteLru(options.cacheBytes);
  }

  /** Throws a data error unless each extent agrees with the entries of its segment. */
  async check(extents: readonly Extent[], signal?: AbortSignal): Promise<void> {
    for (let from = 0; from < extents.length;) {
      const wanted = new Set<number>();
      let to = from;
      for (; to < extents.length; to++) {
        const id = extents[to].segmentId;
        if (wanted.size === SEGMENTS_PER_STEP && !wanted.has(id)) break;
        wanted.add(id);
      }
      const summaries = await this.#load(wanted, signal);
      for (; from < to; from++) {
        const extent = extents[from];
        checkExtent(extent, summaries.get(extent.segmentId)!, this.#geometry);
      }
    }
  }

  async #load(ids: Set<number>, signal?: AbortSignal): Promise<Map<number, Summary>> {
    const summaries = new Map<number, Summary>();
    const missing: number[] = [];
    for (const id of ids) {
      const summary = this.#cache.get(id);
      if (summary !== undefined) summaries.set(id, summary);
      else missing.push(id);
    }
    await this.#limiter.runAll(missing, async (id) => {
      const summary = await this.#fetch(id, signal);
      this.#cache.set(id, summary);
      summaries.set(id, summary);
    });
    return summaries;
  }

  async #fetch(segmentId: number, signal?: AbortSignal): Promise<Summary> {
    const object = segmentKey(segmentId);
    const first = await this.#store.get(object, {
      range: { offset: 0, length: FIRST_READ_BYTES },
      signal,
    });
    if (first === null) {
      throw dataError(`Cannot read segment ${object}: it is missing`, { context: { object } });
    }
    const header = decodeSegmentHeader(first.bytes, segmentId);
    const { metaBlockBytes, dataBlockBytes } = this.#geometry;
    if (
      header.metaBlkShift !== shiftOf(metaBlockBytes) ||
      header.dataBlkShift !== shiftOf(dataBlockBytes)
    ) {
      throw dataError(`Cannot read segment ${object}: its block sizes are not the inode's`, {
        context: { object, offset: 0 },
      });
    }
    const areas = segmentAreas({
      metaBlocks: header.nmetablk,
      metaBlockBytes,
      dataBlocks: header.ndatablk,
      dataBlockBytes,
    });
    if (areas.endOffset > first.size) {
      throw dataError(
        `Cannot read segment ${object}: ${first.size} bytes of ${areas.endOffset}`,
        { context: { object, offset: first.size } },
      );
    }
    if (areas.summaryBytes > SUMMARY_BYTES_MAX) {
      throw dataError(`Cannot read segment ${object}: a summary of ${areas.summaryBytes} bytes`, {
        context: { object, offset: 0 },
      });
    }
    const raw = new Uint8Array(areas.summaryBytes);
    const got = Math.min(first.bytes.length, raw.length);
    raw.set(first.bytes.subarray(0, got));
    if (got < raw.length) {
      const range = { offset: got, length: raw.length - got };
      const rest = await this.#store.get(object, { range, signal });
      if (rest === null || rest.bytes.length < range.length) {
        throw dataError(`Cannot read segment ${object}: its summary ends early`, {
          context: { object, offset: got },
        });
      }
      raw.set(rest.bytes.subarray(0, range.length), got);
    }
    const entries = new Uint32Array(raw.buffer.slice(SegmentHeader.size));
    return new Summary(areas.dataOffset, header.ndatablk, entries);
  }
}

function checkExtent(extent: Extent, summary: Summary, geometry: Geometry): void {
  const first = (extent.offsetBytes - summary.dataOffset) / geometry.dataBlockBytes;
  if (
    first < 0 || !Number.isInteger(first) || first + extent.blockCount > summary.dataBlocks
  ) {
    throw extentError(extent, extent.startBlock, "it lies outside the data blocks");
  }
  for (let i = 0; i < extent.blockCount; i++) {
    const at = (first + i) * ENTRY_WORDS;
    const block = extent.startBlock + i;
    const listed = summary.entries[at] + summary.entries[at + 1] * TWO_32;
    if (listed !== block) {
      throw extentError(extent, block, `the segment lists block ${listed} there`);
    }
    const offset = extent.offsetBytes + i * geometry.dataBlockBytes;
    if (!pointsTo(summary.entries, at + 2, extent.segmentId, offset, geometry.pointerFormat)) {
      throw extentError(extent, block, "the segment's entry points elsewhere");
    }
  }
}

function pointsTo(
  words: Uint32Array,
  at: number,
  segmentId: number,
  offset: number,
  format: PointerFormat,
): boolean {
  const hi = words[at + 1];
  return isInSegment(hi) && segmentIdOf(hi) === segmentId &&
    offsetOf(words[at], format) === offset;
}

function extentError(extent: Extent, block: number, reason: string) {
  const object = segmentKey(extent.segmentId);
  const { offsetBytes } = extent;
  return dataError(`Cannot read block ${block} in ${object} near ${offsetBytes}: ${reason}`, {
    context: { object, offset: offsetBytes, block },
    hint: "The replica is damaged there; an earlier checkpoint may be whole.",
  });
}
