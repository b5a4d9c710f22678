// Reading a Hyperfile: at its head or at any checkpoint, whoever wrote it. Needs no side-car object,
// and writes nothing.
//
// All bytes are foreign: whatever contradicts the format is a data error that names the object and
// the offset, never wrong data. Memory is bounded by the two caches and the reads in flight.

import { dataError } from "../base/errors.ts";
import { KiB, MiB } from "../base/units.ts";
import { type NodeWords, rootWords } from "../format/bmap.ts";
import { type Geometry, geometryOf, type Inode, INODE_KEY } from "../format/inode.ts";
import { segmentKey } from "../format/segment.ts";
import { readCheckpoint, readHead } from "./inode_reader.ts";
import { Limiter } from "./limiter.ts";
import { NodeLoader } from "./node_loader.ts";
import type { ObjectStore } from "./object_store.ts";
import { SegmentIndex } from "./segment_index.ts";
import { checkRoot, type Extent, type TreeView, walkExtents } from "./tree_walk.ts";

export interface ReaderOptions {
  /** The checkpoint; the newest when left out or 0. */
  readonly cno?: number;
  readonly nodeCacheBytes?: number;
  /** Cache of what segments say about their own blocks. */
  readonly summaryCacheBytes?: number;
  /** Requests to the store at once. */
  readonly concurrency?: number;
  /**
   * Compare each block's pointer with the entry in its segment's header. On by default; a reader that
   * makes single random reads of very many segments saves a request per segment without it.
   */
  readonly crossCheck?: boolean;
  readonly signal?: AbortSignal;
}

const NODE_CACHE_BYTES = 32 * MiB;
const SUMMARY_CACHE_BYTES = 16 * MiB;
const CONCURRENCY = 16;
const REQUEST_BYTES_MAX = 8 * MiB;
/** A gap between two wanted parts of a segment that is cheaper to read than a second request. */
const GAP_BYTES_MAX = 64 * KiB;

export class HyperfileReader {
  /** The checkpoint that is open; 0 when nothing was ever committed. */
  readonly cno: number;
  readonly inode: Inode;
  readonly geometry: Geometry;
  readonly #store: ObjectStore;
  readonly #limiter: Limiter;
  readonly #loader: NodeLoader;
  readonly #index: SegmentIndex | null;
  readonly #root: NodeWords;

  private constructor(store: ObjectStore, inode: Inode, options: ReaderOptions, object: string) {
    this.#store = store;
    this.inode = inode;
    this.cno = inode.lastCno;
    this.geometry = geometryOf(inode, object);
    this.#root = rootWords(inode.bmap);
    const { pointerFormat: format, metaBlockBytes } = this.geometry;
    checkRoot(this.#root, { format, segmentIdMax: this.cno }, object);
    this.#limiter = new Limiter(options.concurrency ?? CONCURRENCY);
    const limiter = this.#limiter;
    const cacheBytes = options.nodeCacheBytes ?? NODE_CACHE_BYTES;
    this.#loader = new NodeLoader({ store, limiter, metaBlockBytes, format, cacheBytes });
    this.#index = options.crossCheck === false ? null : new SegmentIndex({
      store,
      limiter,
      geometry: this.geometry,
      cacheBytes: options.summaryCacheBytes ?? SUMMARY_CACHE_BYTES,
    });
  }

  static async open(store: ObjectStore, options: ReaderOptions = {}): Promise<HyperfileReader> {
    const { cno = 0, signal } = options;
    if (cno === 0) {
      const { inode } = await readHead(store, { signal });
      return new HyperfileReader(store, inode, options, INODE_KEY);
    }
    const inode = await readCheckpoint(store, cno, { signal });
    return new HyperfileReader(store, inode, options, segmentKey(cno));
  }

  get sizeBytes(): number {
    return this.inode.size;
  }

  get dataBlockBytes(): number {
    return this.geometry.dataBlockBytes;
  }

  get cachedBytes(): number {
    return this.#loader.cachedBytes;
  }

  get #tree(): TreeView {
    const { pointerFormat: format, dataBlockBytes } = this.geometry;
    return { root: this.#root, loader: this.#loader, format, dataBlockBytes };
  }

  /**
   * Fills `into` with the bytes at `offsetBytes`. Holes, zero blocks and everything past the end are
   * zeros. After an error the contents of `into` are undefined, but nothing writes to it any more.
   */
  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    into.fill(0);
    const block = this.dataBlockBytes;
    const end = Math.min(offsetBytes + into.length, this.sizeBytes);
    if (offsetBytes >= end) return;
    const endBlock = Math.ceil(end / block);
    const startBlock = Math.floor(offsetBytes / block);
    for await (const extents of this.#checkedExtents(startBlock, endBlock, signal)) {
      const parts = splitExtents(extents, block, { start: offsetBytes, end });
      await this.#limiter.runAll(groupParts([...parts]), async (group) => {
        const bytes = await this.#readSegment(group, signal);
        for (const { offset, length, fileOffset } of group.parts) {
          const at = offset - group.offset;
          into.set(bytes.subarray(at, at + length), fileOffset - offsetBytes);
        }
      });
    }
  }

  /**
   * The blocks from `startBlock` up to the end of the file (or before `endBlock`) that hold data, in
   * ascending order; neighbours that lie next to each other in one segment come as one extent.
   */
  async *extents(
    startBlock = 0,
    endBlock = Infinity,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent> {
    const end = Math.min(endBlock, Math.ceil(this.sizeBytes / this.dataBlockBytes));
    let open = null as Extent | null;
    for await (const extents of this.#checkedExtents(startBlock, end, signal)) {
      for (const extent of extents) {
        if (open !== null && this.#continues(open, extent)) {
          open = { ...open, blockCount: open.blockCount + extent.blockCount };
        } else {
          if (open !== null) yield open;
          open = extent;
        }
      }
    }
    if (open !== null) yield open;
  }

  /**
   * Extents of `start` to `end - 1`, checked. Where the range reaches the end of the file, keys beyond
   * it are checked as well: a damaged key may have carried a block there.
   */
  async *#checkedExtents(start: number, end: number, signal?: AbortSignal) {
    const sizeBlocks = Math.ceil(this.sizeBytes / this.dataBlockBytes);
    const walkEnd = end >= sizeBlocks ? Infinity : end;
    for await (const extents of walkExtents(this.#tree, start, walkEnd, signal)) {
      await this.#index?.check(extents, signal);
      const inside = extents.filter(({ startBlock }) => startBlock < end);
      const last = inside.at(-1);
      if (last !== undefined && last.startBlock + last.blockCount > end) {
        inside[inside.length - 1] = { ...last, blockCount: end - last.startBlock };
      }
      if (inside.length > 0) yield inside;
    }
  }

  #continues(open: Extent, next: Extent): boolean {
    return next.segmentId === open.segmentId &&
      next.startBlock === open.startBlock + open.blockCount &&
      next.offsetBytes === open.offsetBytes + open.blockCount * this.dataBlockBytes;
  }

  async #readSegment(group: PartGroup, signal?: AbortSignal): Promise<Uint8Array> {
    const object = segmentKey(group.segmentId);
    const { offset, length } = group;
    const body = await this.#store.get(object, { range: { offset, length }, signal });
    if (body !== null && body.bytes.length >= length) return body.bytes;
    const reason = body === null ? "the segment is missing" : `the segment ends at ${body.size}`;
    throw dataError(`Cannot read data in ${object} at ${offset}: ${reason}`, {
      context: { object, offset },
      hint: "The replica is damaged there; an earlier checkpoint may be whole.",
    });
  }
}

/** Wanted bytes that lie together in a segment and in the file. */
interface Part {
  readonly segmentId: number;
  readonly offset: number;
  readonly length: number;
  readonly fileOffset: number;
}

/** One range request. */
interface PartGroup {
  readonly segmentId: number;
  readonly offset: number;
  length: number;
  readonly parts: Part[];
}

/** Parts of one segment with small gaps between them are read together. */
function groupParts(parts: Part[]): PartGroup[] {
  parts.sort((a, b) => a.segmentId - b.segmentId || a.offset - b.offset);
  const groups: PartGroup[] = [];
  for (const part of parts) {
    const { segmentId, offset } = part;
    const end = offset + part.length;
    const last = groups.at(-1);
    if (
      last !== undefined && last.segmentId === segmentId &&
      offset - (last.offset + last.length) <= GAP_BYTES_MAX &&
      end - last.offset <= REQUEST_BYTES_MAX
    ) {
      last.length = Math.max(last.length, end - last.offset);
      last.parts.push(part);
    } else groups.push({ segmentId, offset, length: part.length, parts: [part] });
  }
  return groups;
}

function* splitExtents(
  extents: readonly Extent[],
  blockBytes: number,
  range: { start: number; end: number },
): Generator<Part> {
  for (const extent of extents) {
    const base = extent.startBlock * blockBytes;
    const from = Math.max(base, range.start);
    const to = Math.min(base + extent.blockCount * blockBytes, range.end);
    for (let at = from; at < to; at += REQUEST_BYTES_MAX) {
      yield {
        segmentId: extent.segmentId,
        offset: extent.offsetBytes + (at - base),
        length: Math.min(REQUEST_BYTES_MAX, to - at),
        fileOffset: at,
      };
    }
  }
}
