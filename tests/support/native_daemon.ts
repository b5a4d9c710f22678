// A whole daemon but for the kernel driver, in the test's own thread: the real target, the real
// replicator's room and a real queue handler, on a primary in memory and on the store that the test
// gives. A stand-in for the queue brings the guest's requests, one after the other.
//
// Time runs faster for it by a factor: policies and limits are the program's own, all of them.

import { reportOf } from "../../src/base/error_report.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../../src/config.ts";
import { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import { INODE_KEY } from "../../src/format/inode.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { RetryStore } from "../../src/replica/retry_store.ts";
import { ReplicaTarget } from "../../src/target/replica_target.ts";
import { ReplicatorRoom } from "../../src/replicator/room.ts";
import type {
  ReplicatorReady,
  ReplicatorRoomEvents,
  ReplicatorRoomOptions,
} from "../../src/replicator/room_options.ts";
import type { RoomSystem } from "../../src/replicator/room_system.ts";
import { runVerify } from "../../src/replicator/verify_run.ts";
import { ReplicatorBell } from "../../src/shared/bell.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { History } from "../../src/shared/history.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";
import type { ReplicatorControl, TargetSystem } from "../../src/target/system.ts";
import type { ReplicatorEnd } from "../../src/workers/replicator_handle.ts";
import { newUuid } from "../../src/base/uuid.ts";
import { assert } from "./assert.ts";
import type { MemoryPrimary } from "./memory_primary.ts";
import { ModelQueue } from "./model_queue.ts";
import { Prng } from "./prng.ts";
import type { TagRequest } from "./tag_table.ts";

/** Turns of the event loop that a request of the guest may take: far more than any local I/O. */
const LOCAL_TURNS = 500;

/** Killed by the test: no error that the program knows. */
export class Killed extends Error {
  override name = "Killed";
}

export interface NativeDaemonOptions {
  readonly config: DeviceConfig;
  readonly target: ReplicaTargetConfig;
  readonly primary: MemoryPrimary;
  /** Opens the store below the program's retries. */
  readonly openStore: (clock: Clock) => ObjectStore;
  /** How many times faster time runs. */
  readonly hurry: number;
}

export class NativeDaemon {
  readonly #options: NativeDaemonOptions;
  readonly #clock: Clock;
  readonly #target: ReplicaTarget;
  #queue: ModelQueue | null = null;
  #handler: ReplicaHandler | null = null;
  #ended: Promise<ReplicatorEnd> | null = null;
  #rung = false;
  /** The next put of an inode is the daemon's death. */
  #dies = false;

  private constructor(options: NativeDaemonOptions, clock: Clock, target: ReplicaTarget) {
    this.#options = options;
    this.#clock = clock;
    this.#target = target;
  }

  /** Rejects with what the start was refused for; everything is closed then. */
  static async start(options: NativeDaemonOptions): Promise<NativeDaemon> {
    const { config, target: targetConfig, primary } = options;
    const clock = hurried(options.hurry);
    const { signal } = new AbortController();
    const late: { daemon: NativeDaemon | null } = { daemon: null };
    const system: TargetSystem = {
      clock,
      openPrimary: () => Promise.resolve(primary.forTarget()),
      allocateShared: (layout) => new SharedArrayBuffer(layout.totalBytes),
      prepareMemory: () => Promise.resolve(),
      doorbells: (views) => late.daemon!.#doorbells(views),
      startReplicator: (room, _log, events) => late.daemon!.#startRoom(room, events),
    };
    const target = await ReplicaTarget.open(config, targetConfig, { signal }, system);
    const daemon = late.daemon = new NativeDaemon(options, clock, target);
    try {
      await target.start({ deviceId: 0, queues: 1, depth: config.depth, doorbellFds: [0] });
    } catch (error) {
      await daemon.#ended;
      await target.close();
      throw error;
    }
    daemon.#serve();
    return daemon;
  }

  get state(): string {
    const { replicator, mode, lastError } = this.#target.state;
    return `${replicator}, ${mode}${lastError ? `: ${lastError.message}` : ""}`;
  }

  /** Whether everything is published, and replication is as it should be. */
  get settled(): boolean {
    const { replicator, mode } = this.#target.state;
    const views = this.#views();
    assert(replicator !== "detached" && replicator !== "failed", this.state);
    const whole = new StaleMap(views).count() === 0 && new History(views).isWhole();
    return mode === "logging" && whole && this.#target.pool?.usedUnits() === 0;
  }

  /** Serves one request to its end, without the help of the store; gives its result. */
  async serve(request: TagRequest, data?: Uint8Array): Promise<number> {
    const [queue, handler] = [this.#queue, this.#handler];
    assert(queue !== null && handler !== null, "the daemon has started");
    const tag = queue.freeTag();
    if (data !== undefined) queue.buffer(tag).set(data);
    queue.results.clear();
    queue.issue(tag, request, handler);
    for (let turns = 0; queue.busy;) {
      if (queue.step(handler)) continue;
      assert(turns++ < LOCAL_TURNS, "local I/O never waits for the store");
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (this.#rung) handler.wake();
      this.#rung = false;
    }
    return [...queue.results.keys()][0];
  }

  /** An orderly stop. */
  async stop(): Promise<void> {
    this.#target.stopping();
    try {
      await this.#target.drain({ served: true });
    } finally {
      await this.#target.close();
    }
  }

  /** From now on the daemon dies between a segment and its inode. */
  doom(): void {
    this.#dies = true;
  }

  /** Resolves when it has died; nothing was done in order. */
  async dead(): Promise<void> {
    const end = await this.#ended;
    assert(end?.error instanceof Killed, `killed, not ${end?.error}`);
    await this.#target.close();
  }

  #views(): SharedViews {
    const { views } = this.#target;
    assert(views !== null, "a target that has started has its memory");
    return views;
  }

  #serve(): void {
    const views = this.#views();
    const { primary } = this.#options;
    const random = new Prng(1);
    const queue = new ModelQueue(views, { qid: 0, primary: primary.bytes, random, failOneIn: 0 });
    const room = this.#target.queueTarget();
    assert(room.type === "io-replica", "the target is a replica's");
    const { waitsForRoom, dirtyMap } = room;
    const doorbells = this.#doorbells(views);
    this.#queue = queue;
    this.#handler = new ReplicaHandler({ qid: 0, queue, views, doorbells, waitsForRoom, dirtyMap });
  }

  #doorbells(views: SharedViews): Doorbells {
    return new Doorbells(views, [0], () => this.#rung = true);
  }

  /** What src/workers/replicator_worker.ts does. */
  #startRoom(options: ReplicatorRoomOptions, events: ReplicatorRoomEvents): ReplicatorControl {
    const room = new ReplicatorRoom(options, events, this.#roomSystem());
    const ready = Promise.withResolvers<ReplicatorReady>();
    const begun = Promise.withResolvers<void>();
    const run = async (): Promise<ReplicatorEnd> => {
      try {
        ready.resolve(await room.open());
        await begun.promise;
        const drained = await room.run();
        await room.close();
        return { drained };
      } catch (error) {
        await room.close();
        ready.reject(error);
        return {
          drained: false,
          error: error instanceof Error ? error : new Error(reportOf(error).message),
        };
      }
    };
    const ended = this.#ended = run();
    return {
      ready: ready.promise,
      ended,
      begin: () => begun.resolve(),
      stop() {
        room.stop();
        begun.resolve();
      },
      abandon() {
        room.abandon();
        begun.resolve();
      },
      order: (order) => Promise.resolve(room.order(order)),
      verify: () => Promise.reject(new Error("nobody verifies here")),
    };
  }

  #roomSystem(): RoomSystem {
    const { primary } = this.#options;
    return {
      clock: this.#clock,
      random: Math.random,
      process: { host: "test", pid: Deno.pid, runs: () => false },
      newId: newUuid,
      openPrimary: () => Promise.resolve(primary.forRoom()),
      openStore: ({ retry: policy, onRetry: onEvent }) => {
        const store = this.#mortal(this.#options.openStore(this.#clock));
        return Promise.resolve(new RetryStore(store, { policy, clock: this.#clock, onEvent }));
      },
      allocate: (sizeBytes) => ({ bytes: new Uint8Array(sizeBytes), release: () => {} }),
      bell: (views) => new ReplicatorBell(views),
      doorbells: (views) => this.#doorbells(views),
      setNice: () => {},
      loadVerify: () => Promise.resolve(runVerify),
    };
  }

  #mortal(store: ObjectStore): ObjectStore {
    const put = store.put.bind(store);
    store.put = (key, chunks, options) =>
      this.#dies && key === INODE_KEY
        ? Promise.reject(new Killed("killed between segment and inode"))
        : put(key, chunks, options);
    return store;
  }
}

function hurried(factor: number): Clock {
  return {
    wallMs: () => Date.now(),
    nowMs: () => performance.now() * factor,
    sleep: (ms, signal) => systemClock.sleep(ms / factor, signal),
  };
}
