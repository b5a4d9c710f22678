// The io-replica target in the main room: the primary, its metadata, the memory that all rooms share
// and the replicator's worker.
//
// Order at start: claim the primary -> replicator attaches and marks what is stale -> mark the primary
// active (durable) -> queues start. So no write reaches a primary that still says `clean`.
// Order at stop: queues end -> replicator drains -> flush the primary -> empty its dirty map -> mark it
// clean. So `clean` means that the last checkpoint is the primary's content.
//
// A stop does not wait for ever for a replica that is away: with writes pending and none committed
// for STALL_MS it gives up. The primary has everything, stays `active`, and the next start resyncs.

import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { roomLog } from "../base/log.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../config.ts";
import { checkIdentity, checkLogicalBlock, checkSharedMemory } from "./identity.ts";
import { TargetIntents } from "./intents.ts";
import { TargetMarks } from "./marks.ts";
import { PrimaryMetadata } from "../primary/metadata.ts";
import type { QueueTarget } from "../queue/room.ts";
import type { Mode } from "../replication/mode.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { ModeOrder } from "../replication/wanted_mode.ts";
import { watchedDisk } from "../replicator/watched_disk.ts";
import type { ReplicatorNews } from "../replicator/room_options.ts";
import { roomOptions } from "./room_options.ts";
import { captureWrites } from "../shared/capture_mode.ts";
import type { Doorbells } from "../shared/doorbells.ts";
import {
  type SharedLayout,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../shared/layout.ts";
import { Pool } from "../shared/pool.ts";
import { type ReplicaTargetState, STARTING, stateAfter } from "./state.ts";
import {
  realTargetSystem,
  type ReplicatorControl,
  type TargetPrimary,
  type TargetSystem,
} from "./system.ts";
import { STALL_MS, untilStalled } from "./stall.ts";
import type { QueueBuffers, Target, TargetStart } from "./target.ts";
import type { ReplicatorEnd } from "../workers/replicator_handle.ts";
import type { VerifyRequest } from "../workers/verify_call.ts";

/** What opening a target takes besides its configuration. */
export interface TargetOpening {
  /** Aborted while the target starts: the start ends with `closed`. */
  readonly signal: AbortSignal;
}

interface Running {
  readonly views: SharedViews;
  readonly pool: Pool;
  readonly layout: SharedLayout;
  readonly doorbells: Doorbells;
  readonly doorbellFds: readonly number[];
  readonly handle: ReplicatorControl;
  readonly intents: TargetIntents;
}

export class ReplicaTarget implements Target {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly rotational: boolean;
  readonly volatileCache: boolean;
  readonly zeroing = true;
  readonly #config: DeviceConfig;
  readonly #target: ReplicaTargetConfig;
  readonly #primary: TargetPrimary;
  #metadata: PrimaryMetadata;
  readonly #opening: TargetOpening;
  readonly #system: TargetSystem;
  readonly #log = roomLog("main");
  #running: Running | null = null;
  readonly #marks: TargetMarks;
  #state = STARTING;
  #stallWatch: AbortController | null = null;

  private constructor(
    config: DeviceConfig,
    target: ReplicaTargetConfig,
    parts: {
      primary: TargetPrimary;
      metadata: PrimaryMetadata;
      opening: TargetOpening;
      system: TargetSystem;
    },
  ) {
    const { geometry } = parts.primary;
    const { deviceSizeBytes, dataBlockBytes } = parts.metadata.superblock;
    this.#config = config;
    this.#marks = new TargetMarks(parts.system.clock, this.#log);
    this.#target = target;
    this.#primary = parts.primary;
    this.#metadata = parts.metadata;
    this.#opening = parts.opening;
    this.#system = parts.system;
    this.sizeBytes = deviceSizeBytes;
    this.logicalBlockBytes = geometry.logicalBlockBytes;
    // Whole replica blocks need no reading back: say so to file systems.
    this.physicalBlockBytes = Math.min(4096, Math.max(geometry.physicalBlockBytes, dataBlockBytes));
    this.rotational = geometry.rotational;
    this.volatileCache = parts.primary.buffered || geometry.volatileCache;
  }

  /** Claims the primary and checks that it is what the configuration says. Changes nothing. */
  static async open(
    config: DeviceConfig,
    target: ReplicaTargetConfig,
    opening: TargetOpening,
    system: TargetSystem = realTargetSystem,
  ): Promise<ReplicaTarget> {
    const primary = await system.openPrimary(target.path, {
      access: "write",
      buffered: target.bufferedIo,
      exclusive: true,
    });
    try {
      // A daemon that was killed may have written what we are about to read and not flushed it. What is
      // read from here on - claim, flush log, dirty map - counts as durable, so it has to be.
      await primary.flush();
      const metadata = await PrimaryMetadata.load(primary);
      checkIdentity(config, target, metadata.superblock);
      checkLogicalBlock(config, metadata.superblock, primary.geometry.logicalBlockBytes);
      checkSharedMemory(config, target, metadata.superblock);
      return new ReplicaTarget(config, target, { primary, metadata, opening, system });
    } catch (error) {
      primary.close();
      throw error;
    }
  }

  get state(): ReplicaTargetState {
    return this.#state;
  }

  /** Null before the device has started. */
  get views(): SharedViews | null {
    return this.#running?.views ?? null;
  }

  get pool(): Pool | null {
    return this.#running?.pool ?? null;
  }

  async start(start: TargetStart): Promise<void> {
    const { superblock } = this.#metadata;
    this.#tellOfDamage();
    const layout = sharedLayout({
      queues: start.queues,
      depth: start.depth,
      ioBufBytes: this.#config.bufferBytes,
      unitBytes: superblock.dataBlockBytes,
      poolBytes: this.#target.poolBytes,
      regionBytes: superblock.regionBytes,
      deviceSizeBytes: this.sizeBytes,
    });
    const shared = this.#system.allocateShared(layout);
    const views = sharedViews(shared, layout);
    const prepared = this.#system.prepareMemory(views);
    const intents = await this.#loadIntents(views);
    const { doorbellFds } = start;
    const doorbells = this.#system.doorbells(views, doorbellFds);
    const handle = this.#startReplicator(shared, layout, doorbellFds);
    this.#running = {
      views,
      pool: new Pool(views),
      layout,
      doorbells,
      doorbellFds,
      handle,
      intents,
    };
    const abandon = () => handle.abandon();
    const { signal } = this.#opening;
    signal.addEventListener("abort", abandon);
    try {
      if (signal.aborted) abandon();
      const { cno, startup, mode, warnings } = await handle.ready;
      this.#state = { ...this.#state, replicator: "replicating", mode, warnings };
      await prepared;
      for (const warning of warnings) this.#log.warn("Attention", { warning });
      this.#log.info("Replica attached", { cno, startup, replica: this.#target.replica.uri });
      // The room has stored its claim in the superblock and stores no more: from here on this room does.
      this.#metadata = await PrimaryMetadata.load(watchedDisk(this.#primary, views));
      await intents.declare();
      await this.#marks.start(this.#metadata, mode);
      handle.begin();
    } catch (error) {
      abandon();
      await handle.ended; // what did not start is not drained: nothing of it may run on
      throw error;
    } finally {
      signal.removeEventListener("abort", abandon);
    }
    void handle.ended.then((end) => this.#replicatorEnded(end));
  }

  #tellOfDamage(): void {
    const { redundant, damagedSlots } = this.#metadata;
    if (!redundant) this.#log.warn("One copy of the superblock was damaged; it is written anew");
    if (damagedSlots.length > 0) {
      this.#log.warn("Records of the flush log are damaged", { slots: damagedSlots.join(" ") });
    }
  }

  queueBuffers(queueId: number): QueueBuffers {
    const { layout, views } = this.#needRunning();
    const { depth, tagStrideBytes, tagBuffersOffset } = layout;
    const byteLength = depth * tagStrideBytes;
    const byteOffset = tagBuffersOffset + queueId * byteLength;
    return {
      area: { buffer: views.memory.buffer, byteOffset, byteLength },
      strideBytes: tagStrideBytes,
    };
  }

  queueTarget(): QueueTarget {
    const { layout, views, doorbellFds, intents } = this.#needRunning();
    const shared = views.memory.buffer;
    return {
      type: "io-replica",
      primaryFd: this.#primary.fd,
      shared,
      layout,
      doorbellFds,
      waitsForRoom: this.#target.congestion === "block",
      dirtyMap: intents.place,
    };
  }

  /** Passes an order on; resolves when it is carried out and what it makes of the primary is durable. */
  async order(order: ModeOrder): Promise<Mode> {
    const { handle } = this.#needRunning();
    const give = () => handle.order(order);
    const mode = order === "resync-all" ? await this.#marks.orderCopy(give) : await give();
    await this.#marks.settled();
    return mode;
  }

  /** Compares primary and replica. */
  async verify(request: VerifyRequest): Promise<VerifyReport> {
    return await this.#needRunning().handle.verify(request);
  }

  get isStopping(): boolean {
    return this.#stallWatch !== null;
  }

  /** From here on a replica that is away does not hold requests back for ever. */
  stopping(): void {
    const running = this.#running;
    if (!running || this.#stallWatch !== null) return;
    this.#stallWatch = new AbortController();
    const { clock } = this.#system;
    void untilStalled(running.views, clock, this.#stallWatch.signal).then((stalled) => {
      if (stalled) this.#giveUp(running);
    });
  }

  async drain({ served }: { readonly served: boolean }): Promise<void> {
    const running = this.#needRunning();
    await hit("stop.before-drain");
    if (!served && this.#state.mode !== "logging") {
      // There is nothing that the replica must have first: the next start goes on with the copy.
      running.handle.abandon();
      await running.handle.ended;
      this.#stallWatch?.abort();
      return;
    }
    running.handle.stop();
    const { drained, error } = await running.handle.ended;
    this.#stallWatch?.abort();
    if (error) throw error;
    if (!drained || this.#state.replicator === "detached") {
      const pending = running.pool.usedUnits() * running.pool.unitBytes;
      throw new ReplicaError(
        "unavailable",
        `Cannot bring the replica up to date: ${this.#state.lastError?.message ?? "given up"}`,
        {
          hint: "The primary has every write. The next start brings the replica up to date.",
          context: { pendingBytes: pending },
        },
      );
    }
    running.intents.requireCopied();
    await hit("stop.after-drain");
    await this.#primary.flush();
    await hit("stop.before-clear");
    await running.intents.clear();
    await hit("stop.before-clean");
    await this.#marks.settled();
    await this.#metadata.markClean(this.#wallMs());
    await hit("stop.after-clean");
  }

  async close(): Promise<void> {
    this.#stallWatch?.abort();
    await this.#marks.close();
    this.#primary.close();
  }

  #loadIntents(views: SharedViews): Promise<TargetIntents> {
    return TargetIntents.load({
      views,
      disk: this.#primary,
      metadata: this.#metadata,
      clock: this.#system.clock,
      log: this.#log,
      kept: this.#target.writeIntent,
    });
  }

  #startReplicator(
    shared: SharedArrayBuffer,
    layout: SharedLayout,
    doorbellFds: readonly number[],
  ): ReplicatorControl {
    const { superblock } = this.#metadata;
    return this.#system.startReplicator(
      roomOptions({ target: this.#target, superblock, shared, layout, doorbellFds }),
      this.#config.log,
      { onNews: (news) => this.#onNews(news) },
    );
  }

  #onNews(news: ReplicatorNews): void {
    const { state, mode, error } = news;
    const before = this.#state;
    this.#state = stateAfter(before, news, this.#wallMs());
    if (mode !== before.mode) this.#onMode(before.mode, mode);
    if (state === before.replicator) return;
    if (state === "retrying") this.#log.warn("Replica does not answer", { error: error?.message });
    if (state === "replicating") this.#log.info("Replica answers again");
    if (state !== "detached") return;
    this.#log.error("Replication has ended, the device goes on locally", { error: error?.message });
    // A foreign writer leaves the dirty map true; stored bytes that contradict themselves do not.
    if (error?.kind !== "fenced") this.#marks.diverged();
  }

  #onMode(before: Mode, mode: Mode): void {
    this.#log.info("Replication mode", { before, mode });
    this.#marks.modeChanged(before, mode);
  }

  /** A room that broke leaves nobody to empty the pool: the device goes on locally. */
  #replicatorEnded({ error }: ReplicatorEnd): void {
    if (!error) return;
    this.#state = {
      ...this.#state,
      replicator: "failed",
      lastError: { atMs: this.#wallMs(), message: error.message },
    };
    this.#log.error("The replicator broke, the device goes on locally", {
      error: error.message,
      stack: error.stack,
    });
    const running = this.#running;
    if (running) endCapture(running);
  }

  #giveUp(running: Running): void {
    this.#log.error("The replica does not answer: stopping without it", { waitedMs: STALL_MS });
    running.handle.abandon();
    endCapture(running);
  }

  #wallMs(): number {
    return this.#system.clock.wallMs();
  }

  #needRunning(): Running {
    if (this.#running) return this.#running;
    throw new ReplicaError("closed", "Cannot use the target: it was not started");
  }
}

function endCapture({ views, doorbells }: Running): void {
  captureWrites(views, false);
  doorbells.ringAll();
}
