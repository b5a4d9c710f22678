// A running null or loop device: no replica, so all it has to tell is its requests.

import deno from "../../deno.json" with { type: "json" };
import { type BareTarget, openBareTarget } from "../target/bare_target.ts";
import { systemClock } from "../base/clock.ts";
import {
  type DeviceConfig,
  type LoopTarget,
  NULL_DEVICE_BYTES,
  type NullTarget,
} from "../config.ts";
import type { CountersReport, ModeReport, StatsReport, StatusReport } from "../control/protocol.ts";
import { RateMeter } from "../control/rate_meter.ts";
import { reportRegularly } from "../control/regular_progress.ts";
import { hasNoReplica } from "../control/state_refusals.ts";
import type { DeviceParameters, DeviceProgress, RunningDevice } from "../control/running_device.ts";
import { UblkDevice } from "./device.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import { countersReport, throughputReport } from "../control/device_report.ts";

/** Opens the target and starts its device; a failure, or `signal`, leaves nothing behind. */
export async function startBareDevice(
  config: DeviceConfig,
  target: NullTarget | LoopTarget,
  signal: AbortSignal,
): Promise<RunningDevice> {
  const opened = await openBareTarget({
    target,
    deviceSizeBytes: config.deviceSizeBytes,
    nullSizeBytes: NULL_DEVICE_BYTES,
    readOnly: config.readOnly,
  });
  const device = await UblkDevice.start(config, opened, { signal });
  return new BareDevice(target, opened, device);
}

class BareDevice implements RunningDevice {
  readonly ended: Promise<void>;
  readonly #config: NullTarget | LoopTarget;
  readonly #target: BareTarget;
  readonly #device: UblkDevice;
  readonly #meter: RateMeter<keyof CountersReport>;
  readonly #startedMs = systemClock.wallMs();

  constructor(config: NullTarget | LoopTarget, target: BareTarget, device: UblkDevice) {
    this.#config = config;
    this.#target = target;
    this.#device = device;
    this.#meter = new RateMeter(systemClock, () => this.#counters());
    this.ended = device.ended.finally(() => this.#meter.close());
    this.ended.catch(() => undefined); // whoever cares has a handler of his own
  }

  get parameters(): DeviceParameters {
    return this.#device.parameters;
  }

  setMode(): Promise<ModeReport> {
    return Promise.reject(hasNoReplica("set the mode"));
  }

  verify(): Promise<VerifyReport> {
    return Promise.reject(hasNoReplica("compare"));
  }

  async stop(onProgress?: (progress: DeviceProgress) => void): Promise<void> {
    const report = () => onProgress?.({ stage: "stopping the device" });
    await reportRegularly(report, () => this.#device.stop());
  }

  status(): StatusReport {
    const { path, sizeBytes } = this.#device.parameters;
    return {
      version: deno.version,
      uuid: null,
      device: path,
      target: this.#config.type,
      mode: null,
      pid: Deno.pid,
      startedMs: this.#startedMs,
      deviceSizeBytes: sizeBytes,
      primary: this.#config.type === "loop" ? this.#config.path : null,
      replicaUri: null,
      pool: null,
      lag: null,
      checkpoint: null,
      dirty: null,
      resync: null,
      verify: null,
      throughput: throughputReport(this.#meter.perSecond()),
      counters: this.#counters(),
      replicaErrors: null,
      messages: [],
    };
  }

  stats(): StatsReport {
    return { takenMs: systemClock.wallMs(), counters: { ...this.#counters() } };
  }

  #counters(): CountersReport {
    return countersReport((name) => this.#target.counter(name));
  }
}
