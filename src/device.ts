// One running ublk device, from ADD_DEV to DEL_DEV. Owns: the device in the kernel, its char device,
// the doorbells, the queue workers and their memory.
//
// Start                                            because
//  1. ADD_DEV                                      makes the char device that all else hangs on
//  2. SET_PARAMS                                   START_DEV reads them
//  3. open the char device                         the driver allows one open; queues share it
//  4. target.start, queue workers, all tags fetched  START_DEV waits until every tag is fetched
//  5. START_DEV                                    reads the partition table: queues must serve
//
// Stop, and undoing a start that failed at any step
//  1. target.stopping, STOP_DEV                    requests in flight are served to their end; then
//                                                  every tag is aborted, which ends the queues
//  2. wait for the queue workers                   they unmap descriptors and close their rings, and
//                                                  only then is their memory nobody's
//  3. target.drain                                 no write can come any more
//  4. close the char device, DEL_DEV               DEL_DEV waits for whoever still has it open
//  5. doorbells, memory, control device, target    nobody is left to use them
//
// Every step has a deadline. A queue that does not end is told to abandon what it has; if that does
// not help it is terminated, the stop fails, and the process should exit (a thread blocked in the
// kernel keeps it alive otherwise).

import { check, errnoOf } from "../ffi/errno.ts";
import { EFD_CLOEXEC, O_CLOEXEC, O_RDWR, openLibc } from "../ffi/libc.ts";
import { cString, SharedArea } from "../ffi/memory.ts";
import { systemClock } from "./base/clock.ts";
import { ReplicaError, usageError } from "./base/errors.ts";
import { roomLog } from "./base/log.ts";
import { alignDown, alignUp, KiB } from "./base/units.ts";
import { LOOP_CONTROL, LOOP_CONTROL_BYTES } from "./queue/loop.ts";
import type { QueueBuffers, Target } from "./target.ts";
import {
  blockDevicePath,
  charDevicePath,
  deviceNumber,
  type DevInfo,
  UblkControl,
} from "./ublk/control.ts";
import { type DeviceGeometry, deviceParams } from "./ublk/params.ts";
import { QueueHandle } from "./workers/queue_handle.ts";

/** Room beside each tag's buffer, for targets that read back whole blocks around a request. */
const TAG_SLACK_BYTES = 128 * KiB;
const PAGE_BYTES = 4 * KiB;
const NODE_WAIT_MS = 5_000;

export interface DeviceOptions {
  /** N of /dev/ublkbN; -1: the next free number. */
  readonly number: number;
  readonly queues: number;
  readonly depth: number;
  /** Greatest request in bytes. */
  readonly bufferBytes: number;
  readonly readOnly: boolean;
  /** Null: what the target has. */
  readonly logicalBlockBytes: number | null;
  readonly physicalBlockBytes: number | null;
}

/** How long each step may take before it counts as failed. */
export interface DeviceDeadlines {
  readonly addMs: number;
  readonly queuesReadyMs: number;
  readonly startMs: number;
  readonly stopMs: number;
  readonly queuesEndMs: number;
  readonly deleteMs: number;
}

export const DEFAULT_DEADLINES: DeviceDeadlines = {
  addMs: 10_000,
  queuesReadyMs: 20_000,
  startMs: 60_000,
  stopMs: 120_000,
  queuesEndMs: 10_000,
  deleteMs: 20_000,
};

/** What a device became: the kernel may grant fewer queues than were asked for. */
export interface DeviceParameters {
  readonly number: number;
  readonly path: string;
  readonly sizeBytes: number;
  readonly queues: number;
  readonly depth: number;
  readonly bufferBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
}

export class UblkDevice {
  readonly parameters: DeviceParameters;
  /**
   * Resolves when the device is gone, also when another program stopped it; rejects with what broke
   * it or kept it from stopping in order.
   */
  readonly ended: Promise<void>;
  readonly #parts: DeviceParts;
  #stop: Promise<void> | undefined;

  private constructor(parts: DeviceParts, parameters: DeviceParameters) {
    this.#parts = parts;
    this.parameters = parameters;
    this.ended = this.#watch();
    this.ended.catch(() => undefined); // whoever cares has a handler of his own
  }

  /**
   * Adds and starts a device in front of `target`, which it owns from here on. A failure, or
   * `signal`, undoes everything.
   */
  static async start(
    options: DeviceOptions,
    target: Target,
    { deadlines = DEFAULT_DEADLINES, signal }: {
      deadlines?: DeviceDeadlines;
      signal?: AbortSignal;
    } = {},
  ): Promise<UblkDevice> {
    const parts = new DeviceParts(options, target, deadlines);
    try {
      const geometry = deviceGeometry(options, target);
      for (const step of parts.startSteps(geometry)) {
        if (signal?.aborted) throw new ReplicaError("closed", "Cannot start the device: stopped");
        await step();
      }
      return new UblkDevice(parts, parts.parameters(geometry));
    } catch (error) {
      await parts.takeDown().catch((second) => {
        roomLog("main").error("Cannot undo the start of the device", { error: String(second) });
      });
      throw error;
    }
  }

  /** Stops in order; later calls join the first. */
  stop(): Promise<void> {
    this.#stop ??= this.#parts.takeDown();
    return this.#stop;
  }

  async #watch(): Promise<void> {
    const failure = await this.#parts.firstEnd();
    if (failure) {
      roomLog("main").error("A queue failed, the device stops", { error: failure.message });
    }
    await this.stop();
    if (failure) throw failure;
  }
}

/** What a device consists of, and how it is put together and taken apart. */
class DeviceParts {
  readonly #options: DeviceOptions;
  readonly #target: Target;
  readonly #deadlines: DeviceDeadlines;
  readonly #log = roomLog("main");
  readonly #doorbells: number[] = [];
  readonly #controls: Int32Array[] = [];
  readonly #areas: SharedArea[] = [];
  readonly #queues: QueueHandle[] = [];
  #control: UblkControl | undefined;
  #info: DevInfo | undefined;
  #charFd = -1;
  #targetStarted = false;
  #failures: unknown[] = [];

  constructor(options: DeviceOptions, target: Target, deadlines: DeviceDeadlines) {
    this.#options = options;
    this.#target = target;
    this.#deadlines = deadlines;
  }

  startSteps(geometry: DeviceGeometry): (() => Promise<void>)[] {
    return [
      () => this.#add(),
      () => this.#needControl().setParams(this.#id(), deviceParams(geometry)),
      () => this.#openCharDevice(),
      () => this.#startTarget(),
      () => this.#startQueues(),
      () => this.#needControl().startDevice(this.#id(), Deno.pid, this.#deadlines.startMs),
    ];
  }

  parameters(geometry: DeviceGeometry): DeviceParameters {
    const info = this.#needInfo();
    return {
      number: info.devId,
      path: blockDevicePath(info.devId),
      sizeBytes: geometry.sizeBytes,
      queues: info.nrHwQueues,
      depth: info.queueDepth,
      bufferBytes: info.maxIoBufBytes,
      logicalBlockBytes: geometry.logicalBlockBytes,
      physicalBlockBytes: geometry.physicalBlockBytes,
      readOnly: geometry.readOnly,
    };
  }

  /** Resolves when a queue breaks (with the error) or all have ended. */
  async firstEnd(): Promise<Error | undefined> {
    const broken = Promise.withResolvers<Error | undefined>();
    const ends = this.#queues.map(async (queue) => {
      const error = await queue.ended;
      if (error) broken.resolve(error);
    });
    return await Promise.race([broken.promise, Promise.all(ends).then(() => undefined)]);
  }

  // ---- start ----

  async #add(): Promise<void> {
    const { number, queues, depth, bufferBytes } = this.#options;
    this.#control = await UblkControl.open();
    this.#info = await this.#addNumber(this.#control, {
      nrHwQueues: queues,
      queueDepth: depth,
      state: 0,
      pad0: 0,
      maxIoBufBytes: bufferBytes,
      devId: deviceNumber(number),
      ublksrvPid: Deno.pid,
      pad1: 0,
      flags: 0n,
      ublksrvFlags: 0n,
      ownerUid: 0,
      ownerGid: 0,
      reserved1: 0n,
      reserved2: 0n,
    });
  }

  async #addNumber(control: UblkControl, info: DevInfo): Promise<DevInfo> {
    try {
      return await control.addDevice(info, this.#deadlines.addMs);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      throw usageError(`Cannot add ublk device ${info.devId}: the number is taken`, {
        cause: error,
        hint: 'Take the next free one with -n -1; "hyper-io-replica list" shows what is there.',
      });
    }
  }

  /** devtmpfs makes the node at once; where udev makes it, it may take a moment. */
  async #openCharDevice(): Promise<void> {
    const path = charDevicePath(this.#id());
    const until = systemClock.nowMs() + NODE_WAIT_MS;
    for (;;) {
      const fd = openLibc().open(cString(path), O_RDWR | O_CLOEXEC, 0);
      if (fd >= 0) {
        this.#charFd = fd;
        return;
      }
      try {
        check(fd, `open ${path}`);
      } catch (error) {
        if (errnoOf(error) !== "ENOENT" || systemClock.nowMs() > until) throw error;
      }
      await systemClock.sleep(5);
    }
  }

  async #startTarget(): Promise<void> {
    const { devId, nrHwQueues, queueDepth } = this.#needInfo();
    for (let queueId = 0; queueId < nrHwQueues; queueId++) {
      this.#doorbells.push(check(openLibc().eventfd(0, EFD_CLOEXEC), "make a doorbell"));
    }
    this.#targetStarted = true;
    await this.#target.start?.({
      deviceId: devId,
      queues: nrHwQueues,
      depth: queueDepth,
      doorbellFds: this.#doorbells,
    });
  }

  async #startQueues(): Promise<void> {
    for (let queueId = 0; queueId < this.#needInfo().nrHwQueues; queueId++) {
      this.#startQueue(queueId);
    }
    const ready = Promise.all(this.#queues.map((queue) => queue.ready));
    const messages = await within(ready, this.#deadlines.queuesReadyMs);
    if (messages === "late") {
      throw new ReplicaError("kernel", "Cannot start the device: its queues did not get ready");
    }
    if (messages.some((message) => !message.isIoFlusher)) {
      this.#log.warning("Queues run without PR_SET_IO_FLUSHER: CAP_SYS_RESOURCE is lacking");
    }
  }

  #startQueue(queueId: number): void {
    const { queueDepth } = this.#needInfo();
    const { area, strideBytes } = this.#target.queueBuffers?.(queueId) ?? this.#makeBuffers();
    const control = new SharedArrayBuffer(LOOP_CONTROL_BYTES);
    this.#controls.push(new Int32Array(control));
    this.#queues.push(
      new QueueHandle({
        queueId,
        depth: queueDepth,
        charDeviceFd: this.#charFd,
        ioctlEncoded: this.#needControl().ioctlEncoded,
        doorbellFd: this.#doorbells[queueId],
        control,
        buffers: area,
        bufferStrideBytes: strideBytes,
        target: this.#target.queueTarget(queueId),
      }),
    );
  }

  #makeBuffers(): QueueBuffers {
    const { queueDepth, maxIoBufBytes } = this.#needInfo();
    const strideBytes = alignUp(maxIoBufBytes + TAG_SLACK_BYTES, PAGE_BYTES);
    // Held here and not by the worker alone: the kernel may still write into it when that is gone.
    const area = SharedArea.allocate(queueDepth * strideBytes);
    this.#areas.push(area);
    return { area: area.handle(), strideBytes };
  }

  // ---- stop ----

  async takeDown(): Promise<void> {
    const id = this.#info?.devId;
    this.#target.stopping?.();
    if (id !== undefined) {
      await this.#try(() => this.#needControl().stopDevice(id, this.#deadlines.stopMs));
    }
    const queuesGone = await this.#endQueues();
    if (this.#targetStarted) await this.#try(() => this.#target.drain?.());
    this.#closeDescriptor(this.#charFd, "the char device");
    if (id !== undefined) {
      await this.#try(() => this.#needControl().deleteDevice(id, this.#deadlines.deleteMs));
    }
    this.#doorbells.forEach((fd) => this.#closeDescriptor(fd, "a doorbell"));
    // Memory that a queue may still use stays where it is: the process is about to exit.
    if (queuesGone) this.#areas.forEach((area) => area.release());
    this.#control?.close();
    await this.#try(() => this.#target.close());
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  /** False when a queue had to be given up. */
  async #endQueues(): Promise<boolean> {
    const ended = Promise.all(this.#queues.map((queue) => queue.ended));
    if (await within(ended, this.#queuesEndMs()) !== "late") return true;
    this.#log.warning("Queues do not end by themselves and are told to abandon their requests");
    for (const queue of this.#queues) this.#abandon(queue.queueId);
    if (await within(ended, this.#deadlines.queuesEndMs) !== "late") return true;
    const stuck = this.#queues.filter((queue) => !queue.hasEnded);
    stuck.forEach((queue) => queue.terminate());
    this.#failures.push(
      new ReplicaError("kernel", `Cannot stop ${stuck.length} queues: they do not answer`, {
        hint: "The process has to exit for the kernel to let go of the device.",
      }),
    );
    return false;
  }

  /** Queues of a device whose STOP_DEV failed do not end by themselves. */
  #queuesEndMs(): number {
    return this.#failures.length > 0 ? 0 : this.#deadlines.queuesEndMs;
  }

  #abandon(queueId: number): void {
    Atomics.store(this.#controls[queueId], LOOP_CONTROL.abandon, 1);
    const one = new Uint8Array(new BigUint64Array([1n]).buffer);
    openLibc().write(this.#doorbells[queueId], one, 8n);
  }

  /** Carries out a step of the stop; what fails is kept, and the next steps are still taken. */
  async #try(step: () => Promise<void> | undefined): Promise<void> {
    try {
      await step();
    } catch (error) {
      // Another program has stopped or deleted the device: that is what we want too.
      if (errnoOf(error) === "ENODEV") return;
      this.#failures.push(error);
    }
  }

  #closeDescriptor(fd: number, what: string): void {
    if (fd < 0) return;
    if (openLibc().close(fd) !== 0) this.#log.warning("Cannot close a descriptor", { what, fd });
  }

  #needControl(): UblkControl {
    if (!this.#control) throw new ReplicaError("closed", "Cannot control the device: not added");
    return this.#control;
  }

  #needInfo(): DevInfo {
    if (!this.#info) throw new ReplicaError("closed", "Cannot use the device: not added");
    return this.#info;
  }

  #id(): number {
    return this.#needInfo().devId;
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | "late"> {
  const timer = new AbortController();
  const late = systemClock.sleep(ms, timer.signal).then(() => "late" as const);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** The geometry of a device in front of `target`; a usage error when the options do not fit it. */
export function deviceGeometry(options: DeviceOptions, target: Target): DeviceGeometry {
  const logicalBlockBytes = options.logicalBlockBytes ?? target.logicalBlockBytes;
  if (logicalBlockBytes < target.logicalBlockBytes) {
    throw usageError(
      `Cannot use --logical-block-size ${logicalBlockBytes}: ` +
        `the target has blocks of ${target.logicalBlockBytes} bytes`,
    );
  }
  const physicalBlockBytes = Math.max(
    logicalBlockBytes,
    options.physicalBlockBytes ?? target.physicalBlockBytes,
  );
  const sizeBytes = alignDown(target.sizeBytes, logicalBlockBytes);
  if (sizeBytes === 0) throw usageError("Cannot start the device: its target is empty");
  return {
    sizeBytes,
    logicalBlockBytes,
    physicalBlockBytes,
    bufferBytes: options.bufferBytes,
    readOnly: options.readOnly,
    rotational: target.rotational,
    volatileCache: target.volatileCache,
    zeroing: target.zeroing && !options.readOnly,
  };
}
