// A device without a kernel: starts, reports and stops as it is told. For the daemon's tests.

import { ReplicaError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { DeviceConfig } from "../../src/config.ts";
import { stepTowards, type WantedMode } from "../../src/replication/wanted_mode.ts";
import type { VerifyReport } from "../../src/replication/verify_report.ts";
import type { ModeReport, StatsReport, StatusReport } from "../../src/control/protocol.ts";
import { hasNoReplica } from "../../src/control/state_refusals.ts";
import type {
  DeviceParameters,
  DeviceProgress,
  DeviceStart,
  RunningDevice,
  VerifyOrder,
} from "../../src/control/running_device.ts";

export interface FakeBehaviour {
  /** The start fails with this. */
  readonly startError?: Error;
  readonly startMs?: number;
  readonly stopMs?: number;
  /** The stop ends with this; the device is gone all the same. */
  readonly stopError?: Error;
  /** What a comparison finds. */
  readonly verifyReport?: VerifyReport;
  readonly verifyError?: Error;
  /** The running device breaks with this after `breakMs`. */
  readonly breakError?: Error;
  readonly breakMs?: number;
}

/** Starts a fake device; what Platform.startDevice is in the tests. */
export async function startFakeDevice(
  config: DeviceConfig,
  { signal, onProgress }: DeviceStart,
  behaviour: FakeBehaviour = {},
): Promise<FakeDevice> {
  if (behaviour.startMs) onProgress?.({ stage: "copying", pendingBytes: 4096, remainingMs: 1500 });
  await systemClock.sleep(behaviour.startMs ?? 0, signal);
  if (signal.aborted) throw new ReplicaError("closed", "Cannot start the device: stopped");
  if (behaviour.startError !== undefined) throw behaviour.startError;
  return new FakeDevice(config, behaviour);
}

export class FakeDevice implements RunningDevice {
  readonly parameters: DeviceParameters;
  readonly ended: Promise<void>;
  stops = 0;
  /** Comparisons that ended because nobody waited any more. */
  verifyStops = 0;
  readonly #config: DeviceConfig;
  readonly #behaviour: FakeBehaviour;
  readonly #end = Promise.withResolvers<void>();
  #mode: "logging" | "forward-part" | "forward-full" | "paused" = "logging";
  #stopping: Promise<void> | undefined;

  constructor(config: DeviceConfig, behaviour: FakeBehaviour) {
    this.#config = config;
    this.#behaviour = behaviour;
    const number = config.number < 0 ? 7 : config.number;
    this.parameters = {
      number,
      path: `/dev/ublkb${number}`,
      sizeBytes: config.deviceSizeBytes ?? 1 << 30,
      queues: config.queues,
      depth: config.depth,
      bufferBytes: config.bufferBytes,
      logicalBlockBytes: 512,
      physicalBlockBytes: 4096,
      readOnly: config.readOnly,
    };
    this.ended = this.#end.promise;
    this.ended.catch(() => undefined); // whoever cares has a handler of his own
    const { breakError, breakMs } = behaviour;
    if (breakError !== undefined) setTimeout(() => this.#end.reject(breakError), breakMs ?? 0);
  }

  stop(onProgress?: (progress: DeviceProgress) => void): Promise<void> {
    this.#stopping ??= this.#stop(onProgress);
    return this.#stopping;
  }

  async #stop(onProgress?: (progress: DeviceProgress) => void): Promise<void> {
    this.stops++;
    onProgress?.({ stage: "draining the pool", pendingBytes: 8 << 20 });
    await systemClock.sleep(this.#behaviour.stopMs ?? 0);
    if (this.#behaviour.stopError !== undefined) throw this.#behaviour.stopError;
    onProgress?.({ stage: "cutting the last checkpoint" });
    this.#end.resolve();
  }

  setMode(wanted: WantedMode): Promise<ModeReport> {
    if (this.#config.target.type !== "io-replica") {
      return Promise.reject(hasNoReplica("set the mode"));
    }
    const { order, note } = stepTowards(this.#mode, wanted);
    if (order === "pause") this.#mode = "paused";
    if (order === "resume") this.#mode = "forward-part";
    if (order === "resync-all") this.#mode = "forward-full";
    return Promise.resolve({ mode: this.#mode, note });
  }

  /** Goes on until nobody waits any more where `verifyReport` is absent. */
  async verify({ onProgress, signal, repair }: VerifyOrder): Promise<VerifyReport> {
    const { verifyReport: report, verifyError } = this.#behaviour;
    if (this.#config.target.type !== "io-replica") throw hasNoReplica("compare");
    if (verifyError !== undefined) throw verifyError;
    const timer = setInterval(() => onProgress({ stage: "comparing", pendingBytes: 4096 }), 10);
    try {
      await systemClock.sleep(report === undefined ? 60_000 : 100, signal);
    } finally {
      clearInterval(timer);
    }
    if (report !== undefined && !signal.aborted) return { ...report, isRepairing: repair };
    this.verifyStops++;
    throw new ReplicaError("closed", "Cannot finish the comparison: it was stopped");
  }

  stats(): StatsReport {
    return { takenMs: Date.now(), counters: { reads: 12, writes: 34 } };
  }

  status(): StatusReport {
    const { target } = this.#config;
    return {
      version: "0.1.0",
      uuid: target.type === "io-replica" ? target.uuid : null,
      device: this.parameters.path,
      target: target.type,
      mode: target.type === "io-replica" ? this.#mode : null,
      pid: Deno.pid,
      startedMs: Date.now() - 5000,
      deviceSizeBytes: this.parameters.sizeBytes,
      primary: target.type === "null" ? null : target.path,
      replicaUri: target.type === "io-replica" ? target.replica.uri : null,
      pool: null,
      lag: null,
      checkpoint: null,
      dirty: null,
      resync: null,
      verify: null,
      throughput: {
        readBytesPerSecond: 1000,
        writeBytesPerSecond: 2000,
        readsPerSecond: 3,
        writesPerSecond: 4,
        replicatedBytesPerSecond: 0,
      },
      counters: {
        reads: 12,
        readBytes: 49152,
        writes: 34,
        writtenBytes: 139264,
        flushes: 1,
        discards: 0,
        discardedBytes: 0,
        writeZeroes: 0,
        zeroedBytes: 0,
        errors: 0,
      },
      replicaErrors: null,
      messages: [],
    };
  }
}
