// Reading a Hyperfile: at its head or at any checkpoint, whoever wrote it. Needs no side-car object,
// and writes nothing.
//
// All bytes are foreign: whatever contradicts the format is a data error that names the object and
// the offset, never wrong data. Memory is bounded by the two caches and the reads in flight.

import { dataError, usageError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import { type NodeWords, rootWords } from "../format/bmap.ts";
import {
  decodeInode,
  type Geometry,
  geometryOf,
  type Inode,
  INODE_KEY,
  InodeRecord,
} from "../format/inode.ts";
import { decodeSegmentHeader, SegmentHeader, segmentKey } from "../format/segment.ts";
import { Limiter } from "./limiter.ts";
import { NodeLoader } from "./node_loader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
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

/** Reads and checks the inode object. Null when there is none. */
export async function readInode(
  store: ObjectStore,
  options?: RequestOptions,
): Promise<{ inode: Inode; bytes: Uint8Array; etag: string } | null> {
  const body = await store.get(INODE_KEY, options);
  if (body === null) return null;
  // A longer object is tolerated, as other implementations do.
  const bytes = body.bytes.slice(0, InodeRecord.size);
  return { inode: decodeInode(bytes, INODE_KEY), bytes, etag: body.etag };
}

/** The inode that checkpoint `cno` committed, from its segment. */
export async function readCheckpointInode(
  store: ObjectStore,
  cno: number,
  options?: RequestOptions,
): Promise<Inode> {
  const object = segmentKey(cno);
  const range = { offset: 0, length: SegmentHeader.size };
  const body = await store.get(object, { ...options, range });
  if (body === null) {
    throw usageError(`Cannot open checkpoint ${cno}: there is no such segment`, {
      context: { object, uri: store.uri },
    });
  }
  const header = decodeSegmentHeader(body.bytes, cno);
  const inode = decodeInode(header.inode, object, SegmentHeader.offset.inode);
  if (inode.lastCno !== cno) {
    throw usageError(`Cannot open checkpoint ${cno}: its segment was written but not published`, {
      context: { object, uri: store.uri },
    });
  }
  return inode;
}

async function readHead(store: ObjectStore, options: RequestOptions): Promise<Inode> {
  const head = await readInode(store, options);
  if (head === null) {
    throw usageError(`Cannot open the replica at ${store.uri}: there is no inode`, {
      context: { object: INODE_KEY, uri: store.uri },
    });
  }
  const { inode } = head;
  if (inode.lastCno === 0 || inode.lastSeq !== inode.lastCno) return inode;
  // The same flush wrote both, so a difference means that objects were mixed up or damaged.
  const segment = await store.get(segmentKey(inode.lastCno), {
    ...options,
    range: { offset: 0, length: SegmentHeader.size },
  });
  if (segment === null) return inode;
  const object = segmentKey(inode.lastCno);
  const header = decodeSegmentHeader(segment.bytes, inode.lastCno);
  const committed = decodeInode(header.inode, object, SegmentHeader.offset.inode);
  if (committed.metaConfig !== inode.metaConfig || !sameBytes(committed.bmap, inode.bmap)) {
    throw dataError(`Cannot open the replica at ${store.uri}: inode and ${object} do not agree`, {
      context: { object: INODE_KEY, offset: InodeRecord.offset.bmap },
      hint: "An earlier checkpoint may be whole: open one by its number.",
    });
  }
  return inode;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

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
      return new HyperfileReader(store, await readHead(store, { signal }), options, INODE_KEY);
    }
    const inode = await readCheckpointInode(store, cno, { signal });
    const head = await readInode(store, { signal });
    if (head !== null && head.inode.lastCno < cno) {
      throw usageError(
        `Cannot open checkpoint ${cno}: the newest is ${head.inode.lastCno}`,
        { context: { uri: store.uri } },
      );
    }
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
