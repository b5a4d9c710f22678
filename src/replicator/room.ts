// The replicator's room: everything that its thread owns, put together, run and taken apart.
//
// open() attaches or refuses; what primary and replica differ in is marked stale, and copied while the
// device is in use. Called by workers/replicator_worker.ts, made from plain data.

import { invariant } from "../base/assert.ts";
import { reportOf } from "../base/error_report.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { roomLog } from "../base/log.ts";
import { MiB } from "../base/units.ts";
import { dirtyMapPlace, type MapPlace } from "../format/primary_layout.ts";
import type { Disk } from "../primary/disk.ts";
import { PrimaryMetadata } from "../primary/metadata.ts";
import type { CheckpointBatch } from "../format/checkpoint_batch.ts";
import type { ReplicaClaim } from "../replica/claim.ts";
import type { HyperfileWriter } from "../replica/hyperfile_writer.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { probeStore } from "../replica/conditional_puts.ts";
import { DAEMON_RETRY, type RetryEvent, START_RETRY } from "../replica/retry_store.ts";
import { UnsafeStore } from "../replica/unsafe_store.ts";
import { REPLICATOR_COUNTER as COUNTER, replicatorCounters } from "../shared/counters.ts";
import type { Mode } from "../replication/mode.ts";
import { ResyncPace } from "../replication/resync_pace.ts";
import { WholeCopies } from "../replication/whole_copy.ts";
import type { VerifyProgress, VerifyReport } from "../replication/verify_report.ts";
import type { ModeOrder } from "../replication/wanted_mode.ts";
import { IntentMap } from "../shared/intent_map.ts";
import { type SharedViews, sharedViews } from "../shared/layout.ts";
import {
  type Attached,
  type AttachOptions,
  attachReplica,
  checkBlocks,
  lookAtReplica,
  releaseSoon,
} from "./attach.ts";
import type { CommitReceipt } from "./committer.ts";
import { CLAIM_LOOK_MS } from "./claim_watch.ts";
import { Comparison } from "./comparison.ts";
import { type Coverage, IntentCleaner } from "./intent_cleaner.ts";
import { nameRegionsOf } from "./intent_pages.ts";
import { MarkedBlocks } from "./marked_blocks.ts";
import { Replicator } from "./replicator.ts";
import type { ResyncSource } from "./resync.ts";
import type {
  ReplicatorReady,
  ReplicatorRoomEvents,
  ReplicatorRoomOptions,
} from "./room_options.ts";
import {
  realRoomSystem,
  type RoomMemory,
  type RoomPrimary,
  type RoomSystem,
} from "./room_system.ts";
import { StagedMap } from "./staged_map.ts";
import { StagedStart } from "./staged_start.ts";
import { markAllBut, markDevice, markDirtyRegions } from "./stale_at_start.ts";
import { watchedDisk } from "./watched_disk.ts";

/** Nodes of the replica's tree that stay in memory: part of the fixed overhead beside the pool. */
export const NODE_CACHE_BYTES = 32 * MiB;

export class ReplicatorRoom {
  readonly #options: ReplicatorRoomOptions;
  readonly #events: ReplicatorRoomEvents;
  readonly #system: RoomSystem;
  readonly #views: SharedViews;
  readonly #counters: Float64Array;
  readonly #wakeQueues: () => void;
  readonly #abort = new AbortController();
  readonly #log = roomLog("replicator");
  #primary: RoomPrimary | null = null;
  #store: ObjectStore | null = null;
  #claim: ReplicaClaim | null = null;
  #writer: HyperfileWriter | null = null;
  #replicator: Replicator | null = null;
  #cleaner: IntentCleaner | null = null;
  #dirtyMap: MapPlace | null = null;
  #staged: StagedMap | null = null;
  readonly #wholeCopies = new WholeCopies();
  #isDamaged = false;
  readonly #comparison: Comparison;
  readonly #areas: RoomMemory[] = [];

  constructor(
    options: ReplicatorRoomOptions,
    events: ReplicatorRoomEvents,
    system: RoomSystem = realRoomSystem(options),
  ) {
    this.#options = options;
    this.#events = events;
    this.#system = system;
    this.#comparison = new Comparison(system.loadVerify);
    this.#views = sharedViews(options.shared, options.layout);
    this.#counters = this.#views.counters.subarray(replicatorCounters(this.#views));
    const doorbells = system.doorbells(this.#views);
    this.#wakeQueues = () => doorbells.ringAll();
  }

  /**
   * Opens both sides, claims the replica and marks what is stale. Rejects with what the operator has
   * to know. A wrong address fails the start: the first look is not patient for ever.
   */
  async open(): Promise<ReplicatorReady> {
    const primary = await this.#system.openPrimary();
    const disk = watchedDisk(primary.disk, this.#views);
    this.#primary = { ...primary, disk };
    const metadata = await PrimaryMetadata.load(disk);
    const { layout, superblock: { uuid } } = metadata;
    this.#dirtyMap = dirtyMapPlace(layout);
    this.#staged = await StagedMap.load(disk, layout, uuid, this.#system.clock.wallMs());
    const attaching = this.#attachOptions(metadata, disk);
    const { signal } = this.#abort;
    await this.#withStore("read", (store) => lookAtReplica(store, attaching));
    // What stands between us and the store may have changed since format asked.
    const trouble = await this.#withStore("write", (store) => probeStore(store, { signal }));
    if (trouble !== null && !this.#options.acceptUnsafeStore) throw trouble;
    await hit("attach.before-open");
    const store = await this.#system.openStore({
      access: "write",
      retry: DAEMON_RETRY,
      onRetry: (event) => this.#storeRetries(event),
    });
    this.#store = trouble === null ? store : new UnsafeStore(store);
    const { claim, writer, startup } = await attachReplica(this.#store, attaching);
    this.#claim = claim;
    this.#writer = writer;
    checkBlocks(writer, this.#options.layout);
    await hit("attach.before-marks");
    const data = this.#primary.data(this.#options.deviceSizeBytes);
    this.#markStale(startup, data);
    this.#counters[COUNTER.lastCno] = writer.lastCno;
    const mode = startup.action === "attach" ? "logging" : startup.action;
    this.#wholeCopies.modeIs(mode);
    this.#replicator = this.#makeReplicator({ metadata, writer, claim, source: data, mode });
    if (this.#options.writeIntent) this.#cleaner = this.#makeCleaner(this.#primary, this.#dirtyMap);
    return {
      cno: writer.lastCno,
      mode,
      startup: startup.action === "attach" ? "attached" : `${startup.action}: ${startup.why}`,
      warnings: trouble === null ? [] : [`Two writers are not kept apart: ${trouble.message}`],
    };
  }

  #markStale(startup: Attached["startup"], data: Parameters<typeof markDevice>[1]): void {
    if (startup.action === "attach") return;
    const [views, staged] = [this.#views, this.#staged];
    if (startup.action === "forward-part") markDirtyRegions(views);
    else if (startup.resumes && staged) markAllBut(views, (region) => staged.holds(region));
    else markDevice(views, data, { replicaIsEmpty: this.#writer?.lastCno === 0 });
  }

  /** Replicates until stop() has drained the pool, or abandon(). False: not all is on the replica. */
  async run(): Promise<boolean> {
    const replicator = this.#replicator;
    if (!replicator) throw new ReplicaError("closed", "Cannot replicate: the room is not open");
    const cleaning = new AbortController();
    const cleaned = this.#cleaner?.run(() => this.#coverage(replicator), cleaning.signal);
    cleaned?.catch(() => replicator.abandon()); // a bug: the room ends in order, and rejects with it
    try {
      await replicator.run();
    } finally {
      cleaning.abort();
      await cleaned;
    }
    const drained = replicator.state === "stopped" && !this.#abort.signal.aborted;
    if (drained) await this.#release();
    return drained;
  }

  /** Nothing will be committed any more: others may have the replica. */
  async #release(): Promise<void> {
    if (!this.#claim) return;
    try {
      await releaseSoon(this.#claim, this.#system.clock);
    } catch (error) {
      // Everything is on the replica; this primary's next start knows the claim as its own.
      if (!(error instanceof ReplicaError)) throw error;
      this.#log.warn("Cannot release the replica", { error: error.message });
    }
  }

  /**
   * Compares primary and replica while both change; with `repair`, has copied again what differs. One
   * comparison at a time; stopVerify() and the end of the room end it.
   */
  async verify(
    { repair }: { repair: boolean },
    onProgress: (progress: VerifyProgress) => void,
  ): Promise<VerifyReport> {
    const [primary, store, replicator] = [this.#primary, this.#store, this.#replicator];
    const dirtyMap = this.#dirtyMap;
    if (!primary || !store || !replicator || !dirtyMap || this.#abort.signal.aborted) {
      throw new ReplicaError("unavailable", "Cannot compare: replication has not begun");
    }
    return await this.#comparison.run({
      views: this.#views,
      primary,
      store,
      replicator,
      deviceSizeBytes: this.#options.deviceSizeBytes,
      bytesPerSecond: this.#options.resyncBytesPerSecond,
      dirtyMap,
      clock: this.#system.clock,
      allocate: (sizeBytes) => this.#system.allocate(sizeBytes),
      wakeQueues: this.#wakeQueues,
      repair,
      onProgress,
    });
  }

  /** The comparison under way rejects with `closed`. */
  stopVerify(): void {
    this.#comparison.stop();
  }

  /** No queue captures any more: drain the pool, then end run(). */
  stop(): void {
    this.#comparison.end();
    // What it marks for repair is still copied, so it must not come after the last checkpoint.
    void this.#comparison.ended.then(() => this.#replicator?.stop());
  }

  /** Give up at once, whatever the replica does. */
  abandon(): void {
    this.#comparison.end();
    this.#abort.abort();
    this.#replicator?.abandon();
  }

  /** Carries out what the operator wants; the mode that it led to. */
  order(order: ModeOrder): Mode {
    const replicator = this.#replicator;
    if (!replicator) return "logging";
    if (order === "pause") replicator.pause();
    else if (order === "resume") replicator.resume();
    else replicator.resyncAll();
    return replicator.mode;
  }

  async close(): Promise<void> {
    this.#comparison.end();
    await this.#comparison.ended;
    this.#areas.forEach((area) => area.release());
    this.#writer?.close();
    // A start that failed commits no more.
    if (this.#replicator === null) await this.#release();
    await this.#store?.close();
    this.#primary?.close();
  }

  #attachOptions(metadata: PrimaryMetadata, disk: Disk): AttachOptions {
    const { primaryState, skipInitialSync, takeOver, force } = this.#options;
    const { clock, process } = this.#system;
    const { layout } = metadata;
    const views = this.#views;
    const map = this.#staged;
    return {
      metadata,
      staged: map && new StagedStart({ views, disk, layout, map, clock }),
      primaryState,
      dirtyRegions: new IntentMap(views).dirtyCount(),
      marked: new MarkedBlocks(views, map, metadata.lastFlush?.cno ?? 0),
      skipInitialSync,
      force,
      takeOver,
      process,
      clock,
      newId: () => this.#system.newId(),
      nodeCacheBytes: NODE_CACHE_BYTES,
      signal: this.#abort.signal,
    };
  }

  /** One repetition is the network's daily life; a second one is worth a word to the operator. */
  #storeRetries({ type, attempts, error }: RetryEvent): void {
    if (type === "retry") {
      this.#counters[COUNTER.storeRetries]++;
      if (attempts > 1) this.#replicator?.storeFails(error);
    } else if (attempts > 2) {
      this.#replicator?.storeWorks();
    }
  }

  /** Runs `body` on a store that gives up soon. */
  async #withStore<T>(access: "read" | "write", body: (store: ObjectStore) => Promise<T>) {
    const store = await this.#system.openStore({ access, retry: START_RETRY });
    try {
      return await body(store);
    } finally {
      await store.close();
    }
  }

  #coverage({ committedPosition }: Replicator): Coverage {
    const [baseCno, segmentId] = [this.#writer?.lastCno ?? 0, this.#writer?.stagedId ?? 0];
    const isRecorded = baseCno === this.#counters[COUNTER.lastCno];
    const wholeCopy = this.#wholeCopies.current;
    const chain = segmentId === 0 ? null : { baseCno, segmentId, wholeCopy };
    return { committedPosition, isRecorded, wholeCopy, chain, isDamaged: this.#isDamaged };
  }

  #makeCleaner(primary: RoomPrimary, place: MapPlace): IntentCleaner {
    return new IntentCleaner({
      views: this.#views,
      disk: primary.disk,
      place,
      staged: this.#staged,
      unsettled: () => this.#replicator?.unsettled() ?? [],
      clock: this.#system.clock,
      generationMs: this.#options.intentGenerationMs,
      wakeQueues: this.#wakeQueues,
      onTrouble: ({ message }) => this.#log.warn("Cannot clear the dirty map", { error: message }),
    });
  }

  #makeReplicator(parts: {
    metadata: PrimaryMetadata;
    writer: HyperfileWriter;
    claim: ReplicaClaim;
    source: ResyncSource;
    mode: ReplicatorReady["mode"];
  }): Replicator {
    const { metadata, writer, claim, source, mode } = parts;
    const { limits, batchBlocks, deviceSizeBytes } = this.#options;
    const { resyncConcurrency, resyncBytesPerSecond, claimLookMs, asideLookMs } = this.#options;
    const { clock, random } = this.#system;
    const { signal } = this.#abort;
    return new Replicator({
      views: this.#views,
      writer: {
        async commit(batch: CheckpointBatch, publish: boolean): Promise<CommitReceipt> {
          const mtimeMs = clock.wallMs();
          const how = { mtimeMs, sizeBytes: deviceSizeBytes, publish, signal };
          return await writer.commit(batch, how);
        },
      },
      journal: {
        recordCommit: ({ cno, committedMs, segmentBytes }) =>
          metadata.appendFlushLog({
            cno,
            ringPosition: this.#counters[COUNTER.committedOperations],
            committedBytes: segmentBytes,
            timeMs: committedMs,
            inodeEtag: writer.inodeEtag,
            checkpointDigest: writer.checkpointDigest,
          }),
      },
      resync: {
        source,
        allocate: (sizeBytes) => this.#allocate(sizeBytes),
        concurrency: resyncConcurrency,
        pace: new ResyncPace(resyncBytesPerSecond),
        lookMs: asideLookMs,
        nameRegion: (firstBlock) => this.#nameRegion(firstBlock),
        onUnreadable: (block, { message: error }) =>
          this.#log.error("Cannot read a block of the primary, the replica keeps what it has", {
            block,
            error,
          }),
        onReadable: (blocks) =>
          this.#log.info("Blocks of the primary can be read again, and are copied", { blocks }),
      },
      claim: {
        requireHeld: (how) => claim.requireHeld(how),
        everyMs: claimLookMs ?? CLAIM_LOOK_MS,
        onTrouble: ({ message }) => this.#log.warn("Cannot look at the claim", { error: message }),
      },
      mode,
      bell: this.#system.bell(this.#views),
      clock,
      random,
      limits,
      batchBlocks: Math.min(batchBlocks, writer.safeBatchBlocks),
      wakeQueues: this.#wakeQueues,
      setNice: (nice) => this.#system.setNice(nice),
      onEvent: ({ state, mode, error }) => {
        this.#wholeCopies.modeIs(mode);
        if (error?.kind === "data") this.#isDamaged = true;
        this.#events.onNews({ state, mode, error: error && reportOf(error) });
      },
    });
  }

  async #nameRegion(firstBlock: number): Promise<void> {
    const [primary, place] = [this.#primary, this.#dirtyMap];
    invariant(primary !== null && place !== null, "a room that replicates is open");
    const writing = { views: this.#views, disk: primary.disk, place, clock: this.#system.clock };
    await nameRegionsOf(writing, { firstBlock, blocks: 1 }, this.#wakeQueues);
  }

  #allocate(sizeBytes: number): Uint8Array {
    const area = this.#system.allocate(sizeBytes);
    this.#areas.push(area);
    return area.bytes;
  }
}
