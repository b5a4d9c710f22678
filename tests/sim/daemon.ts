// One life of the daemon: the real target, the real replicator's room and the real queue handlers, put
// together as the program does, but in one thread and in virtual time.

import { reportOf } from "../../src/base/error_report.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../../src/config.ts";
import { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import type { Mode } from "../../src/replication/mode.ts";
import type { VerifyReport } from "../../src/replication/verify_report.ts";
import { ReplicaTarget } from "../../src/target/replica_target.ts";
import type { ModeOrder } from "../../src/replication/wanted_mode.ts";
import { ReplicatorRoom } from "../../src/replicator/room.ts";
import type {
  ReplicatorReady,
  ReplicatorRoomEvents,
  ReplicatorRoomOptions,
} from "../../src/replicator/room_options.ts";
import type { RoomPrimary, RoomSystem } from "../../src/replicator/room_system.ts";
import { runVerify } from "../../src/replicator/verify_run.ts";
import { DAEMON_RETRY, RetryStore } from "../../src/replica/retry_store.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import type { ReplicatorControl, TargetSystem } from "../../src/target/system.ts";
import { targetPrimary } from "../support/memory_primary.ts";
import type { ReplicatorEnd } from "../../src/workers/replicator_handle.ts";
import { VerifyCall, type VerifyRequest } from "../../src/workers/verify_call.ts";
import type { Prng } from "../support/prng.ts";
import { UNIT_BYTES, type WorldPlan } from "./plan.ts";
import type { Bugs } from "./bugs.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import { SimBell } from "./sim_bell.ts";
import type { Opening, SimDrive } from "./sim_drive.ts";
import { SimQueue } from "./sim_queue.ts";
import type { SimService } from "./sim_store.ts";
import { type Trace, violated } from "./trace.ts";

export interface DaemonOptions {
  readonly plan: WorldPlan;
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly drive: SimDrive;
  readonly service: SimService;
  readonly process: Process;
  readonly config: DeviceConfig;
  readonly target: ReplicaTargetConfig;
  /** Memory that one life after the other uses. */
  readonly arena: Arena;
  readonly bugs: Bugs;
  /** The process has run into an armed failpoint of a queue. */
  crash(): void;
}

/** Zeroed memory that is used again by the next life: nobody of an earlier one runs any more. */
export class Arena {
  #shared = new SharedArrayBuffer(0);
  readonly #rooms: Uint8Array[] = [];
  #taken = 0;

  shared(sizeBytes: number): SharedArrayBuffer {
    this.#taken = 0;
    if (this.#shared.byteLength < sizeBytes) this.#shared = new SharedArrayBuffer(sizeBytes);
    else new Uint8Array(this.#shared).fill(0);
    return this.#shared;
  }

  room(sizeBytes: number): Uint8Array {
    const at = this.#taken++;
    const old = this.#rooms[at];
    if (old !== undefined && old.length >= sizeBytes) return old.subarray(0, sizeBytes);
    return this.#rooms[at] = new Uint8Array(sizeBytes);
  }
}

type DeviceBytes = ReturnType<RoomPrimary["data"]>;

export class SimDaemon {
  readonly #options: DaemonOptions;
  /** Queues whose bell rang before they were there. */
  readonly #rungEarly = new Set<number>();
  readonly #opening: Opening;
  #target: ReplicaTarget | null = null;
  #bells: SimBell[] = [];
  #twisted: ReadonlySet<number> = new Set();
  queues: SimQueue[] = [];
  #postedMs = 0;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#opening = options.drive.open();
    options.drive.defects.untold = false;
  }

  /** What the target says of itself. */
  get state(): string {
    return this.#target?.state.replicator ?? "starting";
  }

  get lastError(): string {
    return this.#target?.state.lastError?.message ?? "";
  }

  get views(): SharedViews | null {
    return this.#target?.views ?? null;
  }

  /** Claims and opens everything; the queues serve afterwards. */
  async start(): Promise<void> {
    const { config, target, plan } = this.#options;
    const signal = new AbortController().signal;
    this.#target = await ReplicaTarget.open(config, target, { signal }, this.#targetSystem());
    const doorbellFds = Array.from({ length: plan.queues }, (_, qid) => qid);
    await this.#target.start({
      deviceId: 0,
      queues: plan.queues,
      depth: plan.depth,
      doorbellFds,
    });
    const { views } = this.#target;
    if (views === null) violated("a target that has started has its memory");
    const doorbells = this.#doorbells(views);
    const { drive, process, crash, bugs } = this.#options;
    const room = this.#target.queueTarget();
    if (room.type !== "io-replica") violated("the target is a replica's");
    const { dirtyMap, waitsForRoom } = room;
    for (const qid of doorbellFds) {
      const queue = bugs.queue({ qid, views, drive, process, opening: this.#opening, crash });
      queue.serve(
        new ReplicaHandler({ qid, queue, views, doorbells, waitsForRoom, dirtyMap }),
      );
      this.queues.push(queue);
      // An eventfd keeps what was added to it before anybody read.
      if (this.#rungEarly.delete(qid)) this.#wakeLater(qid);
    }
  }

  /** What the operator wants; whether it is carried out is nobody's business here. */
  order(order: ModeOrder): void {
    this.#target?.order(order).catch(() => undefined);
  }

  /** Compares; of the primary's `twisted` blocks the comparison sees other bytes than they have. */
  verify(request: VerifyRequest, twisted: ReadonlySet<number>): Promise<VerifyReport> {
    if (this.#target === null) violated("only a daemon that has started compares");
    this.#twisted = twisted;
    return this.#target.verify(request);
  }

  stopping(): void {
    this.#target?.stopping();
  }

  /** No queue is busy any more: drain, mark, close. */
  async finish(): Promise<void> {
    try {
      await this.#target?.drain({ served: true });
    } finally {
      await this.#target?.close();
    }
  }

  /** Lets go of what a failed start left. */
  async close(): Promise<void> {
    await this.#target?.close();
  }

  /** After every event: has anybody rung the replicator's bell? */
  listen(): void {
    for (const bell of this.#bells) bell.listen();
    this.#options.process.footprint?.check();
  }

  #targetSystem(): TargetSystem {
    const { scheduler, process, arena, drive, bugs } = this.#options;
    const clock = scheduler.clock(process);
    const disk = bugs.disk(drive.disk(process, this.#opening), drive);
    const primary = targetPrimary(disk);
    return {
      clock,
      openPrimary: () => Promise.resolve(primary),
      allocateShared: (layout) => arena.shared(layout.totalBytes),
      prepareMemory: () => Promise.resolve(),
      doorbells: (views) => this.#doorbells(views),
      startReplicator: (options, _log, events) => this.#startReplicator(options, events),
    };
  }

  #doorbells(views: SharedViews): Doorbells {
    const fds = Array.from({ length: views.layout.queues }, (_, qid) => qid);
    return new Doorbells(views, fds, (qid) => this.#wakeLater(qid));
  }

  #wakeLater(qid: number): void {
    const { scheduler, random, process } = this.#options;
    scheduler.after(random.below(100) / 1000, process, () => {
      if (this.queues[qid]) this.queues[qid].wake();
      else this.#rungEarly.add(qid);
    });
  }

  /** What src/workers/replicator_worker.ts does, with messages that take their time. */
  #startReplicator(
    options: ReplicatorRoomOptions,
    events: ReplicatorRoomEvents,
  ): ReplicatorControl {
    const { bugs, plan, trace } = this.#options;
    const limits = { ...options.limits, maxAgeMs: plan.maxAgeMs };
    const { batchBlocks, intentGenerationMs, claimLookMs, asideLookMs } = plan;
    const pace = { intentGenerationMs, claimLookMs, asideLookMs };
    const changed = { ...options, limits, batchBlocks, ...pace };
    const room = new ReplicatorRoom(
      bugs.roomOptions(changed),
      {
        onNews: (news) => {
          trace.add("news", news.state, news.mode);
          trace.note(news.error?.message ?? "");
          this.#post(() => events.onNews(news));
        },
      },
      this.#roomSystem(options),
    );
    const ready = Promise.withResolvers<ReplicatorReady>();
    const ended = Promise.withResolvers<ReplicatorEnd>();
    const begun = Promise.withResolvers<void>();
    ready.promise.catch(() => undefined);
    const finish = (end: ReplicatorEnd) => {
      ready.reject(end.error ?? new Error("the room was stopped"));
      ended.resolve(end);
    };
    void this.#serve(room, (opened) => {
      trace.add("attached", opened.cno);
      trace.note(opened.startup);
      this.#post(() => ready.resolve(opened));
      return begun.promise;
    }, (end) => this.#post(() => finish(end)));
    return {
      ready: ready.promise,
      ended: ended.promise,
      begin: () => this.#post(() => begun.resolve()),
      stop: () =>
        this.#post(() => {
          room.stop();
          begun.resolve();
        }),
      abandon: () =>
        this.#post(() => {
          room.abandon();
          begun.resolve();
        }),
      order: (order) => {
        const answer = Promise.withResolvers<Mode>();
        this.#post(() => {
          const mode = room.order(order);
          this.#post(() => answer.resolve(mode));
        });
        return answer.promise;
      },
      verify: (request) => this.#compare(room, request, ended.promise),
    };
  }

  /** What src/workers/replicator_handle.ts and the worker do. */
  #compare(
    room: ReplicatorRoom,
    request: VerifyRequest,
    ended: Promise<unknown>,
  ): Promise<VerifyReport> {
    const call = VerifyCall.start(request, () => this.#post(() => room.stopVerify()));
    this.#post(() =>
      void room.verify(request, (progress) => call.progress(progress)).then(
        (report) => this.#post(() => call.resolve(report)),
        (error) => this.#post(() => call.reject(error)),
      )
    );
    void ended.then(() =>
      call.reject(new ReplicaError("unavailable", "Cannot compare: replication has ended"))
    );
    return call.report;
  }

  async #serve(
    room: ReplicatorRoom,
    onReady: (ready: ReplicatorReady) => Promise<void>,
    onEnd: (end: ReplicatorEnd) => void,
  ): Promise<void> {
    try {
      await onReady(await room.open());
      const drained = await room.run();
      await room.close();
      this.#options.process.footprint?.checkClosed();
      onEnd({ drained });
    } catch (error) {
      const thrown = error instanceof Error ? error : new Error(reportOf(error).message);
      await room.close();
      this.#options.process.footprint?.checkClosed();
      onEnd({ drained: false, error: thrown });
    }
  }

  #roomSystem(options: ReplicatorRoomOptions): RoomSystem {
    const { scheduler, random, process, drive, service, arena, bugs } = this.#options;
    const clock = scheduler.clock(process);
    const chance = () => random.below(2 ** 24) / 2 ** 24;
    return {
      clock,
      random: chance,
      // A process that is not there any more does not run; those of other machines nobody can see.
      process: { host: "sim", pid: process.pid, runs: () => false },
      newId: () => idOf(random),
      openPrimary: () =>
        Promise.resolve({
          disk: bugs.disk(drive.disk(process), drive),
          data: (sizeBytes: number) => ({
            sizeBytes,
            nextData: (offset: number) =>
              offset < sizeBytes ? { startBytes: offset, endBytes: sizeBytes } : null,
            readInto: (offset: number, into: Uint8Array) => drive.readInto(process, offset, into),
          }),
          close: () => {},
        }),
      openStore: ({ retry, onRetry }) => {
        const policy = retry === DAEMON_RETRY ? { ...retry, backoff: retry.backoff } : retry;
        const store = bugs.store(service.client(process), scheduler);
        return Promise.resolve(
          new RetryStore(store, { policy, clock, random: chance, onEvent: onRetry }),
        );
      },
      allocate: (sizeBytes) => {
        process.footprint?.add("memoryBytes", sizeBytes);
        const release = () => process.footprint?.add("memoryBytes", -sizeBytes);
        return { bytes: arena.room(sizeBytes), release };
      },
      bell: (views) => {
        bugs.memory(views);
        process.footprint?.use(views);
        const bell = new SimBell(views, scheduler, process);
        this.#bells.push(bell);
        return bell;
      },
      doorbells: (views) => this.#doorbells(views),
      setNice: () => void options,
      loadVerify: () =>
        Promise.resolve((run) => {
          const data = (sizeBytes: number) => twist(run.primary.data(sizeBytes), this.#twisted);
          return runVerify({ ...run, primary: { ...run.primary, data } });
        }),
    };
  }

  /** Messages between rooms take their time, and keep their order. */
  #post(message: () => void): void {
    const { scheduler, random, process } = this.#options;
    this.#postedMs = Math.max(this.#postedMs, scheduler.nowMs + random.below(100) / 1000);
    scheduler.after(this.#postedMs - scheduler.nowMs, process, message);
  }
}

/** The device's bytes, but in the blocks of `twisted`. */
function twist(data: DeviceBytes, twisted: ReadonlySet<number>): DeviceBytes {
  return {
    nextData: (offset) => data.nextData(offset),
    async readInto(offsetBytes, into) {
      await data.readInto(offsetBytes, into);
      for (const block of twisted) {
        const at = block * UNIT_BYTES - offsetBytes;
        if (at >= 0 && at < into.length) into[at] ^= 0xff;
      }
    },
  };
}

/** A UUID that the seed decides. */
function idOf(random: Prng): string {
  const digits = Array.from({ length: 32 }, () => random.below(16).toString(16));
  digits[12] = "4";
  digits[16] = "8";
  return digits.join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
