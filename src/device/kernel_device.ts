// What a running device consists of, and how it is put together and taken apart: the steps that
// src/device/device.ts lists. Owns: the device in the kernel, its char device, its queues and its target.

import { check, errnoOf } from "../../ffi/errno.ts";
import { O_CLOEXEC, O_RDWR, openLibc } from "../../ffi/libc.ts";
import { cString, MEMORY_PAGE_BYTES } from "../../ffi/memory.ts";
import { systemClock } from "../base/clock.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { roomLog } from "../base/log.ts";
import { alignUp, KiB } from "../base/units.ts";
import type { DeviceConfig } from "../config.ts";
import type { QueueBuffers, Target } from "../target/target.ts";
import { charDevicePath, deviceNumber, type DevInfo, UblkControl } from "../ublk/control.ts";
import { type DeviceGeometry, deviceParams } from "../ublk/params.ts";
import { QueueGroup, type QueueRoomShape } from "../workers/queue_group.ts";

/** Room beside each tag's buffer, for targets that read back whole blocks around a request. */
const TAG_SLACK_BYTES = 128 * KiB;
const NODE_WAIT_MS = 5_000;

/** What a device is made from, besides its target. */
export type DeviceOptions = Pick<
  DeviceConfig,
  | "number"
  | "queues"
  | "depth"
  | "bufferBytes"
  | "readOnly"
  | "logicalBlockBytes"
  | "physicalBlockBytes"
>;

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

export class KernelDevice {
  readonly #options: DeviceOptions;
  readonly #target: Target;
  readonly #deadlines: DeviceDeadlines;
  readonly #log = roomLog("main");
  #control: UblkControl | undefined;
  #info: DevInfo | undefined;
  #charFd = -1;
  #targetStarted = false;
  #served = false;
  #queues: QueueGroup | undefined;
  #failures: unknown[] = [];

  constructor(options: DeviceOptions, target: Target, deadlines: DeviceDeadlines) {
    this.#options = options;
    this.#target = target;
    this.#deadlines = deadlines;
  }

  /** The steps of a start, in order; a signal may call it off between them. */
  startSteps(geometry: DeviceGeometry): (() => Promise<void>)[] {
    return [
      () => this.#add(),
      () => this.#needControl().setParams(this.info.devId, deviceParams(geometry)),
      () => this.#openCharDevice(),
      () => this.#startTarget(),
      () => this.#needQueues().start((id) => this.#roomShape(id), this.#deadlines.queuesReadyMs),
      () => this.#startDevice(),
    ];
  }

  /** What ADD_DEV gave. */
  get info(): DevInfo {
    return this.#info ?? missing("added");
  }

  /** Resolves when a queue breaks, with the error, or when all have ended. */
  firstEnd(): Promise<Error | undefined> {
    return this.#needQueues().firstEnd();
  }

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
    const path = charDevicePath(this.info.devId);
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
    const { devId, nrHwQueues, queueDepth } = this.info;
    this.#queues = QueueGroup.create(nrHwQueues);
    await this.#target.start?.({
      deviceId: devId,
      queues: nrHwQueues,
      depth: queueDepth,
      doorbellFds: this.#queues.doorbellFds,
    });
    this.#targetStarted = true;
  }

  #roomShape(queueId: number): QueueRoomShape {
    const { area, strideBytes } = this.#target.queueBuffers?.(queueId) ?? this.#makeBuffers();
    return {
      depth: this.info.queueDepth,
      charDeviceFd: this.#charFd,
      ioctlEncoded: this.#needControl().ioctlEncoded,
      buffers: area,
      bufferStrideBytes: strideBytes,
      target: this.#target.queueTarget(queueId),
    };
  }

  #makeBuffers(): QueueBuffers {
    const { queueDepth, maxIoBufBytes } = this.info;
    const strideBytes = alignUp(maxIoBufBytes + TAG_SLACK_BYTES, MEMORY_PAGE_BYTES);
    return { area: this.#needQueues().allocate(queueDepth * strideBytes).handle(), strideBytes };
  }

  /** START_DEV may wait for requests that only a queue answers: it fails when a queue ends. */
  async #startDevice(): Promise<void> {
    const { devId } = this.info;
    const started = this.#needControl().startDevice(devId, Deno.pid, this.#deadlines.startMs);
    const ended = this.#needQueues().firstEnd().then((error) => {
      throw error ?? new ReplicaError("closed", "Cannot start the device: its queues have ended");
    });
    await Promise.race([started, ended]);
    this.#served = true;
  }

  /** Takes apart what is there, in order; throws the first failure after the last step. */
  async takeDown(): Promise<void> {
    this.#target.stopping?.();
    const stopped = this.#stopDevice();
    const stuck = await this.#endQueues(stopped);
    const how = { served: this.#served };
    if (this.#targetStarted) await this.#try(() => this.#target.drain?.(how));
    if (this.#charFd >= 0) {
      await this.#try(() =>
        Promise.resolve(void check(openLibc().close(this.#charFd), "close it"))
      );
    }
    await stopped;
    await this.#deleteDevice();
    this.#queues?.close();
    this.#control?.close();
    await this.#try(() => this.#target.close());
    if (stuck > 0) {
      this.#failures.unshift(
        new ReplicaError("kernel", `Cannot stop ${stuck} queues: they do not answer`, {
          hint: "The process has to exit for the kernel to let go of the device.",
        }),
      );
    }
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  async #stopDevice(): Promise<void> {
    const id = this.#info?.devId;
    if (id === undefined) return;
    await this.#try(() => this.#needControl().stopDevice(id, this.#deadlines.stopMs));
  }

  async #deleteDevice(): Promise<void> {
    const id = this.#info?.devId;
    if (id === undefined) return;
    await this.#try(() => this.#needControl().deleteDevice(id, this.#deadlines.deleteMs));
  }

  /**
   * Queues end by themselves once STOP_DEV is through. With a queue broken it never is: newer drivers
   * fail the requests that the queue held only when the char device is closed.
   */
  async #endQueues(stopped: Promise<void>): Promise<number> {
    const queues = this.#queues;
    if (!queues) return 0;
    const broken = await Promise.race([stopped, queues.firstEnd()]);
    const giveUp = broken !== undefined || this.#failures.length > 0;
    const { queuesEndMs } = this.#deadlines;
    return await queues.end(giveUp ? 0 : queuesEndMs, queuesEndMs);
  }

  /** Carries out a step of the stop; what fails is kept, and the next steps are still taken. */
  async #try(step: () => Promise<void> | undefined): Promise<void> {
    try {
      await step();
    } catch (error) {
      // Another program has stopped or deleted the device: that is what we want too.
      if (errnoOf(error) === "ENODEV") return;
      this.#log.warning("A step of the stop failed", { error: String(error) });
      this.#failures.push(error);
    }
  }

  #needControl(): UblkControl {
    return this.#control ?? missing("added");
  }

  #needQueues(): QueueGroup {
    return this.#queues ?? missing("started");
  }
}

function missing(state: string): never {
  throw new ReplicaError("closed", `Cannot use the device: it is not ${state}`);
}
