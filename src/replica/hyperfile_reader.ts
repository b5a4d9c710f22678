// Reading a Hyperfile: at its head or at any checkpoint, whoever wrote it. Needs no side-car object,
// and writes nothing.
//
// All bytes are foreign: whatever contradicts the format is a data error that names the object and
// the offset, never wrong data. Memory is bounded by the two caches and the reads in flight.

import { dataError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
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
      const parts = [...splitExtents(extents, block, { start: offsetBytes, end })];
      await this.#limiter.runAll(parts, async (part) => {
        const bytes = await this.#readSegment(part, signal);
        into.set(bytes, part.fileOffset - offsetBytes);
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

  async *#checkedExtents(start: number, end: number, signal?: AbortSignal) {
    for await (const extents of walkExtents(this.#tree, start, end, signal)) {
      await this.#index?.check(extents, signal);
      yield extents;
    }
  }

  #continues(open: Extent, next: Extent): boolean {
    return next.segmentId === open.segmentId &&
      next.startBlock === open.startBlock + open.blockCount &&
      next.offsetBytes === open.offsetBytes + open.blockCount * this.dataBlockBytes;
  }

  async #readSegment(part: Part, signal?: AbortSignal): Promise<Uint8Array> {
    const object = segmentKey(part.segmentId);
    const range = { offset: part.offset, length: part.length };
    const body = await this.#store.get(object, { range, signal });
    if (body !== null && body.bytes.length >= part.length) {
      return body.bytes.subarray(0, part.length);
    }
    const reason = body === null ? "the segment is missing" : `the segment ends at ${body.size}`;
    throw dataError(`Cannot read data in ${object} at ${part.offset}: ${reason}`, {
      context: { object, offset: part.offset },
      hint: "The replica is damaged there; an earlier checkpoint may be whole.",
    });
  }
}

/** One range request for data. */
interface Part {
  readonly segmentId: number;
  readonly offset: number;
  readonly length: number;
  readonly fileOffset: number;
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
