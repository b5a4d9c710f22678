// Writing a Hyperfile, one checkpoint at a time.
//
// State: the inode as it stands in the store (the base), and the root of the tree in memory, which is
// ahead of the base only while staged segments wait to be published. Both advance only after a
// success; a commit that failed is kept, whole, and is finished by committing the same batch again:
// same segment, same bytes. One commit at a time.
//
// A writer that meets a foreign change is fenced: it refuses everything from then on.

import { invariant } from "../base/assert.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { MiB } from "../base/units.ts";
import { SEGMENT_ID_MAX } from "../format/block_ptr.ts";
import { nodeBytes, type NodeWords, rootWords } from "../format/bmap.ts";
import {
  apparentSectors,
  type Geometry,
  geometryOf,
  type Inode,
  INODE_KEY,
  InodeRecord,
  newInode,
  type NewInodeOptions,
  splitTime,
} from "../format/inode.ts";
import { SEGMENT_BYTES_MAX, segmentKey } from "../format/segment.ts";
import { type Mutations, prepareMutations, UNPLACED_HI, type ZeroForm } from "./mutations.ts";
import { equalBytes, putInode, putSegment } from "./commit_protocol.ts";
import { type KnownInode, readHead, readInode } from "./inode_reader.ts";
import { Limiter } from "./limiter.ts";
import { NodeLoader } from "./node_loader.ts";
import type { ObjectStore } from "./object_store.ts";
import { type OrphanPolicy, type OrphanReport, resolveOrphans } from "./orphans.ts";
import { checkSegmentBytes, layOutSegment, type SegmentImage } from "./segment_image.ts";
import { checkRoot } from "./tree_walk.ts";
import { updateTree } from "./tree_update.ts";

export interface WriterOptions {
  readonly nodeCacheBytes?: number;
  /** Requests to the store at once. */
  readonly concurrency?: number;
  /** A batch that needs a longer segment is refused. */
  readonly segmentBytesMax?: number;
  /** How zero ranges and blocks of zeros are stored; a hole unless told otherwise. */
  readonly zeroForm?: ZeroForm;
  /** Store data blocks of zeros as zero blocks; on by default. */
  readonly dropZeroData?: boolean;
  readonly signal?: AbortSignal;
}

export interface CreateOptions extends WriterOptions, NewInodeOptions {}

export interface OpenOptions extends WriterOptions {
  /** What to do with a segment that was put but never published. */
  readonly orphans: OrphanPolicy;
}

export interface CommitOptions {
  /** The time of the checkpoint. */
  readonly mtimeMs: number;
  /** The size of the file from now on: never less than before. */
  readonly sizeBytes?: number;
  /** False: write the segment, but publish it only with a later commit. */
  readonly publish?: boolean;
  readonly signal?: AbortSignal;
}

export interface CommitResult {
  /** The newest published checkpoint. */
  readonly cno: number;
  /** The segment that was written, or 0 when the batch changed nothing. */
  readonly segmentId: number;
  readonly segmentBytes: number;
  readonly metaBlocks: number;
  readonly dataBlocks: number;
  readonly putCount: number;
}

/** What remains to be done of a commit whose bytes are settled. */
interface Pending {
  readonly batch: CheckpointBatch;
  readonly publish: boolean;
  readonly image: SegmentImage | null;
  readonly inodeBytes: Uint8Array;
  readonly sizeBytes: number;
  segmentStands: boolean;
  putCount: number;
}

const NODE_CACHE_BYTES = 64 * MiB;
const CONCURRENCY = 16;

export class HyperfileWriter {
  readonly geometry: Geometry;
  /** What open() found above the last checkpoint. */
  readonly orphans: OrphanReport;
  readonly #store: ObjectStore;
  readonly #options: WriterOptions;
  readonly #loader: NodeLoader;
  #base: KnownInode;
  #root: NodeWords;
  /** Of the tree in memory. */
  #sizeBytes: number;
  /** Segments written but not published. */
  #staged: number[] = [];
  /** A number is never used twice, even for a segment that was given up: its put may be under way. */
  #lastUsedId = 0;
  #pending: Pending | null = null;
  #stopped: ReplicaError | null = null;
  #busy = false;

  private constructor(
    store: ObjectStore,
    base: KnownInode,
    orphans: OrphanReport,
    options: WriterOptions,
  ) {
    this.#store = store;
    this.#base = base;
    this.orphans = orphans;
    this.#options = options;
    this.geometry = geometryOf(base.inode, INODE_KEY);
    const { pointerFormat: format, metaBlockBytes } = this.geometry;
    this.#root = rootWords(base.inode.bmap);
    this.#sizeBytes = base.inode.size;
    checkRoot(this.#root, { format, segmentIdMax: base.inode.lastCno }, INODE_KEY);
    this.#loader = new NodeLoader({
      store,
      limiter: new Limiter(options.concurrency ?? CONCURRENCY),
      metaBlockBytes,
      format,
      cacheBytes: options.nodeCacheBytes ?? NODE_CACHE_BYTES,
    });
  }

  /** Creates an empty replica; a usage error when there is one already. */
  static async create(store: ObjectStore, options: CreateOptions): Promise<HyperfileWriter> {
    const { signal } = options;
    const bytes = InodeRecord.toBytes(newInode(options));
    const put = await store.put(INODE_KEY, [bytes], { condition: { absent: true }, signal });
    const found = await readInode(store, { signal });
    // Refused, but what stands there is what we put: the answer to an earlier try was lost.
    if (found === null || !(put.stored || equalBytes(found.bytes, bytes))) {
      throw usageError(`Cannot create a replica at ${store.uri}: there is one already`, {
        context: { object: INODE_KEY, uri: store.uri },
      });
    }
    return new HyperfileWriter(store, found, { adopted: null, deleted: [] }, options);
  }

  /** Opens a replica at its head. The caller has made sure that nobody else writes to it. */
  static async open(store: ObjectStore, options: OpenOptions): Promise<HyperfileWriter> {
    const { signal } = options;
    const found = await readHead(store, { signal });
    const { known, report } = await resolveOrphans(store, found, options.orphans, { signal });
    return new HyperfileWriter(store, known, report, options);
  }

  /** The newest published checkpoint; 0 before the first. */
  get lastCno(): number {
    return this.#base.inode.lastCno;
  }

  /** Etag of the inode as this writer last read or wrote it. */
  get inodeEtag(): string {
    return this.#base.etag;
  }

  get sizeBytes(): number {
    return this.#base.inode.size;
  }

  get dataBlockBytes(): number {
    return this.geometry.dataBlockBytes;
  }

  /** Whether a failed commit waits to be finished: by a commit of the same batch. */
  get hasPending(): boolean {
    return this.#pending !== null;
  }

  get hasStaged(): boolean {
    return this.#staged.length > 0;
  }

  /** Data blocks that fit a batch for certain, however they are scattered. */
  get safeBatchBlocks(): number {
    const { metaBlockBytes, dataBlockBytes } = this.geometry;
    return Math.floor(this.#segmentBytesMax / (dataBlockBytes + 3 * metaBlockBytes + 64));
  }

  /**
   * Writes a batch as one segment and publishes it as a checkpoint. A batch that changes nothing
   * writes nothing. Errors: `unavailable` - commit the same batch again; `fenced` - stop; `usage` -
   * the batch is above the segment bound; `data` - the tree in the store is damaged.
   */
  async commit(batch: CheckpointBatch, options: CommitOptions): Promise<CommitResult> {
    this.#enter();
    try {
      let pending = this.#pending;
      invariant(pending === null || pending.batch === batch, "a failed batch is committed again");
      pending ??= await this.#prepare(batch, options);
      if (pending === null) return this.#result(null);
      this.#pending = pending;
      await this.#finish(pending, options.signal);
      this.#pending = null;
      return this.#result(pending);
    } catch (error) {
      if (error instanceof ReplicaError && error.kind === "fenced") this.#stopped = error;
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  /** Gives up staged segments: deletes them and returns to the last published checkpoint. */
  async discardStaged(signal?: AbortSignal): Promise<void> {
    this.#enter();
    try {
      const pending = this.#pending;
      invariant(pending === null || !pending.publish, "a publishing commit is not discarded");
      if (pending?.image) this.#staged.push(pending.image.segmentId);
      this.#pending = null;
      this.#root = rootWords(this.#base.inode.bmap);
      this.#sizeBytes = this.#base.inode.size;
      for (; this.#staged.length > 0; this.#staged.pop()) {
        await this.#store.delete(segmentKey(this.#staged[this.#staged.length - 1]), { signal });
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Refuses all later calls. The store stays open: it is the caller's. */
  close(): void {
    this.#stopped ??= new ReplicaError("closed", "Cannot write to the replica: it was closed");
  }

  #enter(): void {
    if (this.#stopped !== null) throw this.#stopped;
    invariant(!this.#busy, "one commit at a time");
    this.#busy = true;
  }

  get #segmentBytesMax(): number {
    return this.#options.segmentBytesMax ?? SEGMENT_BYTES_MAX;
  }

  #nextSegmentId(publish: boolean): number {
    // A staged segment must not be the one that others would adopt as the next checkpoint.
    const id = Math.max(this.#base.inode.lastSeq + (publish ? 1 : 2), this.#lastUsedId + 1);
    if (id <= SEGMENT_ID_MAX) return id;
    throw usageError(`Cannot commit to ${this.#store.uri}: its segment numbers are used up`);
  }

  /** Settles the bytes of a commit; null when there is nothing to write. Changes no state. */
  async #prepare(batch: CheckpointBatch, options: CommitOptions): Promise<Pending | null> {
    const { geometry } = this;
    const { publish = true, signal } = options;
    const mutations = prepareMutations(batch, {
      dataBlockBytes: geometry.dataBlockBytes,
      zeroForm: this.#options.zeroForm ?? "hole",
      dropZeroData: this.#options.dropZeroData ?? true,
    });
    checkSegmentBytes(mutations.data.length * geometry.dataBlockBytes, this.#segmentBytesMax);
    const sizeBytes = this.#newSize(mutations, options);
    const data = withClearTail(mutations, sizeBytes, geometry.dataBlockBytes);
    const change = await updateTree(data, {
      root: this.#root,
      loader: this.#loader,
      format: geometry.pointerFormat,
      metaBlockBytes: geometry.metaBlockBytes,
      signal,
    });
    const base = this.#base.inode;
    const common = { batch, publish, segmentStands: false, putCount: 0 };
    if (!change.changed && !(publish && this.hasStaged)) {
      if (sizeBytes === (publish ? base.size : this.#sizeBytes)) return null;
      const inode = { ...base, ...sizeFields(sizeBytes), ...timeFields(options.mtimeMs) };
      return { ...common, image: null, sizeBytes, inodeBytes: InodeRecord.toBytes(inode) };
    }
    const segmentId = this.#nextSegmentId(publish);
    const image = layOutSegment(change, data, {
      segmentId,
      geometry,
      bytesMax: this.#segmentBytesMax,
      inode: (root) =>
        publish
          ? {
            ...base,
            ...sizeFields(sizeBytes),
            ...timeFields(options.mtimeMs),
            lastSeq: segmentId,
            lastCno: segmentId,
            bmap: nodeBytes(root),
          }
          : base,
    });
    return { ...common, image, sizeBytes, inodeBytes: image.inodeBytes };
  }

  #newSize(mutations: Mutations, options: CommitOptions): number {
    const size = this.#sizeBytes;
    const written = mutations.endBlock * this.dataBlockBytes;
    const { sizeBytes } = options;
    if (sizeBytes === undefined) return Math.max(size, written);
    if (sizeBytes < size) {
      throw usageError(`Cannot shrink the replica from ${size} to ${sizeBytes} bytes`);
    }
    const end = Math.ceil(sizeBytes / this.dataBlockBytes) * this.dataBlockBytes;
    invariant(written <= end, `a batch up to ${written} lies inside ${sizeBytes} bytes`);
    return sizeBytes;
  }

  async #finish(pending: Pending, signal: AbortSignal | undefined): Promise<void> {
    const { image } = pending;
    if (image !== null && !pending.segmentStands) {
      this.#lastUsedId = image.segmentId;
      pending.putCount++;
      await hit("commit.before-segment");
      await putSegment(this.#store, image, signal);
      await hit("commit.after-segment");
      pending.segmentStands = true;
    }
    if (pending.publish) {
      pending.putCount++;
      this.#base = await putInode(this.#store, pending.inodeBytes, this.#base, signal);
      await hit("commit.after-inode");
      this.#staged = [];
    } else if (image !== null) this.#staged.push(image.segmentId);
    this.#sizeBytes = pending.sizeBytes;
    if (image === null) return;
    this.#root = image.root;
    for (const { offset, words } of image.nodes) this.#loader.keep(image.segmentId, offset, words);
  }

  #result(pending: Pending | null): CommitResult {
    return {
      cno: this.lastCno,
      segmentId: pending?.image?.segmentId ?? 0,
      segmentBytes: pending?.image?.bytes ?? 0,
      metaBlocks: pending?.image?.metaBlocks ?? 0,
      dataBlocks: pending?.image?.dataBlocks ?? 0,
      putCount: pending?.putCount ?? 0,
    };
  }
}

function sizeFields(sizeBytes: number): Pick<Inode, "size" | "blocks"> {
  return { size: sizeBytes, blocks: apparentSectors(sizeBytes) };
}

function timeFields(mtimeMs: number): Pick<Inode, "mtime" | "mtimeNsec"> {
  const { seconds, nanoseconds } = splitTime(mtimeMs);
  return { mtime: seconds, mtimeNsec: nanoseconds };
}

/** Zeroes what lies past the end of the file in its last block, on a copy. */
function withClearTail(mutations: Mutations, sizeBytes: number, blockBytes: number): Mutations {
  const tail = sizeBytes % blockBytes;
  const last = mutations.putCount - 1;
  if (tail === 0 || last < 0 || mutations.putHi[last] !== UNPLACED_HI) return mutations;
  if (mutations.putKeys[last] !== Math.floor(sizeBytes / blockBytes)) return mutations;
  const data = mutations.data.slice();
  const block = data[data.length - 1].slice();
  block.fill(0, tail);
  data[data.length - 1] = block;
  return { ...mutations, data };
}
