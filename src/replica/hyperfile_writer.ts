// Writing a Hyperfile, one checkpoint at a time.
//
// State: the inode as it stands in the store (the base), and the root of the tree in memory, which is
// ahead of the base only while staged segments wait to be published. Both advance only after a
// success; a commit that failed is kept, whole, and is finished by committing the same batch again:
// same segment, same bytes. One commit at a time.
//
// A writer that meets a foreign change is fenced: it refuses everything from then on. It writes under a
// claim on the replica, and the numbers of its segments leave no gap that an earlier writer's late put
// could fill: such an orphan would look like a checkpoint once the inode has passed it.

import { invariant } from "../base/assert.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import { MiB } from "../base/units.ts";
import { SEGMENT_ID_MAX } from "../format/block_ptr.ts";
import { nodeBytes, type NodeWords, rootWords } from "../format/bmap.ts";
import {
  type Geometry,
  geometryOf,
  type Inode,
  INODE_KEY,
  InodeRecord,
  resizedInode,
} from "../format/inode.ts";
import { SEGMENT_BYTES_MAX } from "../format/segment.ts";
import { digestOfSegment } from "./checkpoint_digest.ts";
import { type Mutations, prepareMutations, withClearTail } from "./mutations.ts";
import { putInode, putSegment } from "./commit_protocol.ts";
import { type KnownInode, readHead } from "./inode_reader.ts";
import { Limiter } from "./limiter.ts";
import { NodeLoader } from "./node_loader.ts";
import type { ObjectStore } from "./object_store.ts";
import { type OrphanReport, settleOrphans } from "./orphans.ts";
import {
  checkSegmentBytes,
  emptySegment,
  type ImageOptions,
  layOutSegment,
  type SegmentImage,
} from "./segment_image.ts";
import { checkRoot } from "./tree_walk.ts";
import { updateTree } from "./tree_update.ts";
import type { StagedTail } from "./staged_tail.ts";
import type { WriteClaim } from "./write_claim.ts";
import type {
  CommitOptions,
  CommitResult,
  OpenClaimedOptions,
  WriterOptions,
} from "./writer_options.ts";

/** What a writer begins with. */
interface Beginning {
  readonly base: KnownInode;
  readonly orphans: OrphanReport;
  readonly claim: WriteClaim;
  readonly standing: Map<number, string>;
  readonly staged: StagedTail | null;
}

/** What remains to be done of a commit whose bytes are settled. */
interface Pending {
  readonly batch: CheckpointBatch;
  readonly publish: boolean;
  readonly image: SegmentImage | null;
  readonly inodeBytes: Uint8Array;
  readonly sizeBytes: number;
  /** Of the segment once it stands. */
  etag?: string;
  putCount: number;
}

const NODE_CACHE_BYTES = 64 * MiB;
const CONCURRENCY = 16;

export class HyperfileWriter {
  readonly geometry: Geometry;
  /** What openClaimed() found above the last checkpoint. */
  readonly orphans: OrphanReport;
  readonly #store: ObjectStore;
  readonly #options: WriterOptions;
  readonly #loader: NodeLoader;
  readonly #claim: WriteClaim;
  /** Etags of useless objects that have a number which will come up. */
  readonly #standing: Map<number, string>;
  #base: KnownInode;
  #checkpointDigest = "";
  #root: NodeWords;
  /** Of the tree in memory. */
  #sizeBytes: number;
  /** Segments written but not published. */
  #staged: { readonly id: number; readonly etag?: string }[] = [];
  /** A number is never used twice, even for a segment that was given up: its put may be under way. */
  #lastUsedId = 0;
  #pending: Pending | null = null;
  #stopped: ReplicaError | null = null;
  #busy = false;

  private constructor(store: ObjectStore, beginning: Beginning, options: WriterOptions) {
    const { base, orphans, claim, standing, staged } = beginning;
    this.#store = store;
    this.#base = base;
    this.orphans = orphans;
    this.#claim = claim;
    this.#standing = standing;
    this.#options = options;
    this.geometry = geometryOf(base.inode, INODE_KEY);
    const { pointerFormat: format, metaBlockBytes } = this.geometry;
    this.#root = rootWords((staged?.inode ?? base.inode).bmap);
    this.#sizeBytes = (staged?.inode ?? base.inode).size;
    if (staged !== null) this.#staged = [...staged.segments];
    const newest = this.#lastUsedId = this.stagedId;
    const segmentIdMax = Math.max(newest, base.inode.lastCno);
    checkRoot(this.#root, { format, segmentIdMax }, INODE_KEY);
    this.#loader = new NodeLoader({
      store,
      limiter: new Limiter(options.concurrency ?? CONCURRENCY),
      metaBlockBytes,
      format,
      cacheBytes: options.nodeCacheBytes ?? NODE_CACHE_BYTES,
    });
  }

  /** Opens a replica at its head under a claim: whoever wrote before is fenced, or was this primary. */
  static async openClaimed(
    store: ObjectStore,
    options: OpenClaimedOptions,
  ): Promise<HyperfileWriter> {
    const { claim, adoptEpoch, mayHold, staged = null, signal } = options;
    const found = await readHead(store, { signal });
    const keep = staged?.segments ?? [];
    const settled = await settleOrphans(store, found, { claim, adoptEpoch, mayHold, keep, signal });
    const { known: base, report: orphans, standing } = settled;
    return new HyperfileWriter(store, { base, orphans, claim, standing, staged }, options);
  }

  /** The newest published checkpoint; 0 before the first. */
  get lastCno(): number {
    return this.#base.inode.lastCno;
  }

  /** Etag of the inode as this writer last read or wrote it. */
  get inodeEtag(): string {
    return this.#base.etag;
  }

  /** Of the newest checkpoint; empty where this writer has not published it: readCheckpointDigest() tells. */
  get checkpointDigest(): string {
    return this.#checkpointDigest;
  }

  get sizeBytes(): number {
    return this.#base.inode.size;
  }

  get uri(): string {
    return this.#store.uri;
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

  /** The last staged segment; 0: nothing is staged. */
  get stagedId(): number {
    return this.#staged.at(-1)?.id ?? 0;
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

  /** Gives up staged segments: removes what they hold and returns to the last published checkpoint. */
  async discardStaged(signal?: AbortSignal): Promise<void> {
    this.#enter();
    try {
      const pending = this.#pending;
      invariant(pending === null || !pending.publish, "a publishing commit is not discarded");
      if (pending?.image) this.#staged.push({ id: pending.image.segmentId });
      this.#pending = null;
      this.#root = rootWords(this.#base.inode.bmap);
      this.#sizeBytes = this.#base.inode.size;
      for (; this.#staged.length > 0; this.#staged.pop()) {
        const { id, etag } = this.#staged[this.#staged.length - 1];
        await this.#putEmpty(id, etag, signal);
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
    const common = { batch, publish, putCount: 0 };
    if (!change.changed && !(publish && this.hasStaged)) {
      if (sizeBytes === (publish ? base.size : this.#sizeBytes)) return null;
      const inode = resizedInode(base, sizeBytes, options.mtimeMs);
      return { ...common, image: null, sizeBytes, inodeBytes: InodeRecord.toBytes(inode) };
    }
    const segmentId = this.#nextSegmentId(publish);
    const image = layOutSegment(change, data, {
      segmentId,
      geometry,
      bytesMax: this.#segmentBytesMax,
      ...inodesOf(base, { publish, segmentId, sizeBytes, mtimeMs: options.mtimeMs }),
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
    if (image !== null && pending.etag === undefined) {
      this.#lastUsedId = image.segmentId;
      if (!pending.publish) await this.#fillGap(signal);
      pending.putCount++;
      const { segmentId } = image;
      const standing = this.#standing.get(segmentId);
      await hit("commit.before-segment");
      const options = { claim: this.#claim, standing, signal };
      pending.etag = await putSegment(this.#store, image, options);
      await hit("commit.after-segment");
      this.#standing.delete(segmentId);
    }
    if (pending.publish) {
      pending.putCount++;
      const options = { claim: this.#claim, signal };
      this.#base = await putInode(this.#store, pending.inodeBytes, this.#base, options);
      await hit("commit.after-inode");
      this.#staged = [];
      if (image !== null) this.#checkpointDigest = digestOfSegment(image.chunks[0]);
    } else if (image !== null) this.#staged.push({ id: image.segmentId, etag: pending.etag });
    this.#sizeBytes = pending.sizeBytes;
    if (image === null) return;
    this.#root = image.root;
    for (const { offset, words } of image.nodes) this.#loader.keep(image.segmentId, offset, words);
  }

  /** Staged segments leave out the next number, which must not stay free. */
  async #fillGap(signal: AbortSignal | undefined): Promise<void> {
    const id = this.#base.inode.lastSeq + 1;
    if (this.#staged.length === 0) {
      this.#standing.set(id, await this.#putEmpty(id, this.#standing.get(id), signal));
    }
  }

  #putEmpty(id: number, standing: string | undefined, signal?: AbortSignal): Promise<string> {
    const options = { claim: this.#claim, standing, signal };
    return putSegment(this.#store, emptySegment(id, this.#base.inode), options);
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

/** The inodes of a segment. A staged one shows other tools nothing but the checkpoint before it. */
function inodesOf(
  base: Inode,
  { publish, segmentId, sizeBytes, mtimeMs }: {
    publish: boolean;
    segmentId: number;
    sizeBytes: number;
    mtimeMs: number;
  },
): Pick<ImageOptions, "inode" | "stagedInode"> {
  const resized = resizedInode(base, sizeBytes, mtimeMs);
  const number = { lastSeq: segmentId, lastCno: segmentId };
  if (publish) return { inode: (root) => ({ ...resized, ...number, bmap: nodeBytes(root) }) };
  return { inode: () => base, stagedInode: (root) => ({ ...resized, bmap: nodeBytes(root) }) };
}
