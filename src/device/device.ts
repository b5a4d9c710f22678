// One running ublk device, from ADD_DEV to DEL_DEV. Owns: the order of the steps, which
// src/device/kernel_device.ts carries out.
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
//  3. target.drain, if it has started              no write can come any more
//  4. close the char device, DEL_DEV               DEL_DEV waits for whoever still has it open
//  5. doorbells, memory, control device, target    nobody is left to use them
//
// Every step has a deadline. When a queue breaks, or STOP_DEV is late, the queues are told to abandon
// what they have, and the char device is closed without waiting for STOP_DEV: that makes the driver
// fail the requests that nobody answers. A queue that does not end even then is terminated, the stop
// fails, and the process should exit (a thread blocked in the kernel keeps it alive otherwise).

import { ReplicaError, usageError } from "../base/errors.ts";
import { roomLog } from "../base/log.ts";
import { alignDown } from "../base/units.ts";
import type { DeviceParameters } from "../control/running_device.ts";
import {
  DEFAULT_DEADLINES,
  type DeviceDeadlines,
  type DeviceOptions,
  KernelDevice,
} from "./kernel_device.ts";
import type { Target } from "../target/target.ts";
import { blockDevicePath, type DevInfo } from "../ublk/control.ts";
import type { DeviceGeometry } from "../ublk/params.ts";

export class UblkDevice {
  readonly parameters: DeviceParameters;
  /**
   * Resolves when the device is gone, also when another program stopped it; rejects with what broke
   * it or kept it from stopping in order.
   */
  readonly ended: Promise<void>;
  readonly #parts: KernelDevice;
  #stop: Promise<void> | undefined;

  private constructor(parts: KernelDevice, parameters: DeviceParameters) {
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
    const parts = new KernelDevice(options, target, deadlines);
    try {
      const geometry = deviceGeometry(options, target);
      for (const step of parts.startSteps(geometry)) {
        if (signal?.aborted) throw new ReplicaError("closed", "Cannot start the device: stopped");
        await step();
      }
      return new UblkDevice(parts, deviceParameters(parts.info, geometry));
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

function deviceParameters(info: DevInfo, geometry: DeviceGeometry): DeviceParameters {
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
