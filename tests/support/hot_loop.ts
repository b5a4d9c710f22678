// The I/O path of one queue at full speed on a machine without ublk: the real QueueLoop, TargetQueue,
// handler, pool and ring, with an EndlessQueue for the driver. Tells what an operation costs: time,
// CPU and, above all, memory of V8's heap, which must be none.
//
// It blocks its thread. To measure memory it runs in a process of its own that has --expose-gc
// (hot_loop_probe.ts); with a replicator at the other end of the pool, in a worker beside it.

import process from "node:process";
import { check } from "../../ffi/errno.ts";
import { EFD_CLOEXEC, O_DIRECT, O_RDWR, openLibc } from "../../ffi/libc.ts";
import { addressOf, cString } from "../../ffi/memory.ts";
import type { RequestHandler } from "../../src/queue/handler.ts";
import { LOOP_CONTROL, LOOP_CONTROL_BYTES, QueueLoop } from "../../src/queue/loop.ts";
import { LoopHandler } from "../../src/queue/loop_handler.ts";
import { NullHandler } from "../../src/queue/null_handler.ts";
import { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import { TargetQueue } from "../../src/queue/target_queue.ts";
import { alignUp, MiB } from "../../src/base/units.ts";
import type { MapPlace } from "../../src/format/primary_layout.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { COUNTER_ROW } from "../../src/shared/layout.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import {
  allocateShared,
  type SharedLayout,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../src/shared/layout.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import { ENTRY_EMPTY, ENTRY_ZERO, Pool } from "../../src/shared/pool.ts";
import { Ring } from "../../src/ublk/ring.ts";
import { EndlessQueue, type RequestKind } from "./endless_queue.ts";

export interface HotLoopOptions {
  readonly handler: "null" | "loop" | "replica";
  /** The primary; /dev/zero answers at once, so that only the path itself is measured. */
  readonly primaryPath: string;
  readonly direct: boolean;
  readonly depth: number;
  readonly kinds: readonly RequestKind[];
  readonly startBytes: number;
  readonly spanBytes: number;
  /** Operations before the measurement: the optimising compiler is done by then. */
  readonly warmUp: number;
  readonly operations: number;
  readonly poolBytes: number;
  /** False: the primary's dirty map is not kept. */
  readonly writeIntent?: boolean;
  /** Takes all marks off the dirty map every so many operations; 0: never. */
  readonly forgetEvery?: number;
  /** The device is clean when the measurement begins: no region is named in its dirty map. */
  readonly cleanStart?: boolean;
  /** Every region is named in it from the beginning. */
  readonly dirtyStart?: boolean;
  readonly regionBytes?: number;
  /** Makes one small object every so many operations; 0: none. Shows that the measure sees it. */
  readonly garbageEvery?: number;
}

/** A pool that somebody else empties, who rings this doorbell when there is room again. */
export interface HotLoopPool {
  readonly shared: SharedArrayBuffer;
  readonly layout: SharedLayout;
  readonly doorbellFd: number;
}

export interface HotLoopResult {
  readonly operations: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** What the heap grew by while `operations` were served. */
  readonly heapBytes: number;
  readonly errors: number;
}

const UNIT_BYTES = 4096;
const IO_BUFFER_BYTES = 512 * 1024;
/** The pool is emptied every so many answers. */
const DRAIN_EVERY = 64;

interface Snapshot {
  readonly atMs: number;
  readonly cpuMicros: number;
  readonly heapBytes: number;
}

function snapshot(): Snapshot {
  const { user, system } = process.cpuUsage();
  return {
    atMs: performance.now(),
    cpuMicros: user + system,
    heapBytes: Deno.memoryUsage().heapUsed,
  };
}

/** Empties the pool as fast as can be: what the replicator's thread does, without a replica. */
class PoolDrain {
  readonly #pool: Pool;
  #position: number;

  constructor(views: SharedViews) {
    this.#pool = new Pool(views);
    this.#position = this.#pool.tail();
  }

  drain(): void {
    const pool = this.#pool;
    let position = this.#position;
    for (;;) {
      const state = pool.stateAt(position);
      if (state === ENTRY_EMPTY) break;
      const units = state === ENTRY_ZERO ? 1 : pool.blockCountAt(position);
      pool.clear(position);
      position = pool.advance(position, units);
    }
    this.#position = position;
    pool.release(position);
  }
}

/** Counts answers, takes the snapshots and ends the loop. */
class Course {
  before: Snapshot | null = null;
  after: Snapshot | null = null;
  readonly control = new Int32Array(new SharedArrayBuffer(LOOP_CONTROL_BYTES));
  readonly doorbellFd: number;
  readonly #options: HotLoopOptions;
  readonly #drain: PoolDrain | null;
  readonly #end: number;
  readonly #garbageEvery: number;
  readonly #forgetEvery: number;
  readonly #map: IntentMap;
  garbage: unknown = null;

  constructor(
    options: HotLoopOptions,
    { drain, views, doorbellFd }: {
      drain: PoolDrain | null;
      views: SharedViews;
      doorbellFd: number;
    },
  ) {
    this.#map = new IntentMap(views);
    this.#forgetEvery = options.forgetEvery ?? 0;
    this.#options = options;
    this.doorbellFd = doorbellFd;
    this.#garbageEvery = options.garbageEvery ?? 0;
    this.#drain = drain;
    this.#end = options.warmUp + options.operations;
  }

  onAnswer(answered: number): boolean {
    if (answered % DRAIN_EVERY === 0) this.#drain?.drain();
    if (this.#forgetEvery > 0 && answered % this.#forgetEvery === 0) this.#forget();
    if (this.#garbageEvery > 0 && answered % this.#garbageEvery === 0) this.garbage = { answered };
    if (answered === this.#options.warmUp) {
      collectGarbage();
      if (this.#options.cleanStart) this.#forget();
      this.before = snapshot();
    } else if (answered === this.#end) {
      this.after = snapshot();
    }
    if (answered === this.#end + this.#options.depth - 1) {
      // The last tag: nothing is in flight any more.
      Atomics.store(this.control, LOOP_CONTROL.abandon, 1);
      openLibc().write(this.doorbellFd, new Uint8Array(new BigUint64Array([1n]).buffer), 8n);
    }
    return answered < this.#end;
  }

  #forget(): void {
    for (let page = 0; page < this.#map.pages; page++) this.#map.forgetPage(page);
  }
}

function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

function openHandler(
  type: HotLoopOptions["handler"],
  queue: TargetQueue,
  views: SharedViews,
  { doorbellFd, dirtyMap }: { doorbellFd: number; dirtyMap: MapPlace | null },
): RequestHandler {
  const row = new Float64Array(new SharedArrayBuffer(COUNTER_ROW * 8));
  switch (type) {
    case "null":
      return new NullHandler(queue, row);
    case "loop":
      return new LoopHandler(queue, row);
    case "replica": {
      const doorbells = Doorbells.ofEventfds(views, [doorbellFd]);
      return new ReplicaHandler({ qid: 0, queue, views, doorbells, waitsForRoom: true, dirtyMap });
    }
  }
}

/** The layout that the options ask for. */
export function hotLoopLayout(options: HotLoopOptions): SharedLayout {
  return sharedLayout({
    queues: 1,
    depth: options.depth,
    ioBufBytes: IO_BUFFER_BYTES,
    unitBytes: UNIT_BYTES,
    poolBytes: options.poolBytes,
    regionBytes: options.regionBytes ?? 8 * MiB,
    deviceSizeBytes: options.startBytes + options.spanBytes,
  });
}

function placeBehindDevice({ deviceSizeBytes, intentPages }: SharedLayout): MapPlace {
  const copyBytes = intentPages * PAGE_BYTES;
  return { offsetBytes: alignUp(deviceSizeBytes, PAGE_BYTES), copyBytes };
}

/** As if the primary's map named them: nobody looks there. */
function nameAllRegions(views: SharedViews): void {
  const map = new IntentMap(views);
  for (let page = 0; page < map.pages; page++) {
    map.tryLock(page);
    map.wantPage(page);
    map.compose(page);
    map.complete(page);
    map.unlock(page);
  }
}

/** An eventfd that a queue can be woken by. */
export function openDoorbell(): number {
  return check(openLibc().eventfd(0, EFD_CLOEXEC), "make an eventfd");
}

/** Blocks the thread until all operations are served. Without `given` it empties the pool itself. */
export function runHotLoop(options: HotLoopOptions, given?: HotLoopPool): HotLoopResult {
  const { depth, kinds, startBytes, spanBytes } = options;
  const libc = openLibc();
  const flags = O_RDWR | (options.direct ? O_DIRECT : 0);
  const primaryFd = check(libc.open(cString(options.primaryPath), flags, 0), "open the primary");
  const layout = given?.layout ?? hotLoopLayout(options);
  const views = sharedViews(given?.shared ?? allocateShared(layout), layout);
  const ring = Ring.open({
    entries: depth + 1,
    completionEntries: 3 * depth + 1,
    deferTaskRun: true,
  });
  const drain = given ? null : new PoolDrain(views);
  const course = new Course(options, {
    drain,
    views,
    doorbellFd: given?.doorbellFd ?? openDoorbell(),
  });
  const queue = new EndlessQueue({
    ring,
    depth,
    kinds,
    startBytes,
    spanBytes,
    bufferAddress: addressOf(views.memory) + BigInt(layout.tagBuffersOffset),
    bufferStrideBytes: layout.tagStrideBytes,
    onAnswer: (answered) => course.onAnswer(answered),
  });
  const stagingAddress = addressOf(views.intent.staging);
  const target = new TargetQueue({ ring, queue, primaryFd, stagingAddress });
  const { control, doorbellFd } = course;
  const dirtyMap = options.writeIntent === false ? null : placeBehindDevice(layout);
  if (options.dirtyStart) nameAllRegions(views);
  const handler = openHandler(options.handler, target, views, { doorbellFd, dirtyMap });
  const loop = new QueueLoop({ ring, queue, target, handler, doorbellFd, control });
  loop.prime();
  loop.run();
  ring.close();
  loop.close();
  libc.close(primaryFd);
  if (!given) libc.close(doorbellFd);
  return resultOf(course, queue.errors, options.operations);
}

function resultOf(course: Course, errors: number, operations: number): HotLoopResult {
  const { before, after } = course;
  if (before === null || after === null) throw new Error("The loop ended before its time");
  return {
    operations,
    errors,
    seconds: (after.atMs - before.atMs) / 1000,
    cpuSeconds: (after.cpuMicros - before.cpuMicros) / 1e6,
    heapBytes: after.heapBytes - before.heapBytes,
  };
}
