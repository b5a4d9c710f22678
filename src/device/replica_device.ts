// A running io-replica device: the ublk device, its target, and what both have to tell.

import deno from "../../deno.json" with { type: "json" };
import { systemClock } from "../base/clock.ts";
import { formatSize } from "../base/units.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../config.ts";
import type {
  CheckpointReport,
  CountersReport,
  LagReport,
  ModeReport,
  PoolReport,
  ResyncReport,
  StatsReport,
  StatusReport,
  VerifyStatusReport,
} from "../control/protocol.ts";
import {
  dirtyReport,
  lagReport,
  resyncReport,
  verifyStatusReport,
} from "../control/replica_report.ts";
import { reportRegularly } from "../control/regular_progress.ts";
import { RateMeter } from "../control/rate_meter.ts";
import { isStopping, replicationHasEnded } from "../control/state_refusals.ts";
import { statusMessages } from "../control/status_messages.ts";
import type {
  DeviceParameters,
  DeviceProgress,
  DeviceStart,
  RunningDevice,
  VerifyOrder,
} from "../control/running_device.ts";
import { UblkDevice } from "./device.ts";
import type { VerifyProgress, VerifyReport } from "../replication/verify_report.ts";
import { stepTowards, type WantedMode } from "../replication/wanted_mode.ts";
import { countersReport, throughputReport } from "../control/device_report.ts";
import { ReplicaTarget } from "../target/replica_target.ts";
import {
  QUEUE_COUNTER,
  REPLICATOR_COUNTER,
  replicatorCounters,
  sumQueues,
} from "../shared/counters.ts";
import { hasFlushFailed } from "../shared/failed_flush.ts";
import { History } from "../shared/history.ts";
import { WORD } from "../shared/layout.ts";
import { IntentMap } from "../shared/intent_map.ts";

/** Opens both sides and starts the device; a failure, or `signal`, leaves nothing behind. */
export async function startReplicaDevice(
  config: DeviceConfig,
  target: ReplicaTargetConfig,
  start: DeviceStart,
): Promise<RunningDevice> {
  const { signal } = start;
  const opened = await ReplicaTarget.open(config, target, { signal });
  const device = await UblkDevice.start(config, opened, { signal });
  return new ReplicaDevice(target, opened, device);
}

/** A comparison that is under way, as far as it has told. */
interface RunningVerify {
  readonly sinceMs: number;
  progress: VerifyProgress | null;
}

class ReplicaDevice implements RunningDevice {
  readonly ended: Promise<void>;
  readonly #config: ReplicaTargetConfig;
  readonly #target: ReplicaTarget;
  readonly #device: UblkDevice;
  readonly #meter: RateMeter<keyof CountersReport | "drainedBytes" | "resyncedBytes">;
  readonly #startedMs = systemClock.wallMs();
  #stopping = false;
  #verifying: RunningVerify | null = null;

  constructor(config: ReplicaTargetConfig, target: ReplicaTarget, device: UblkDevice) {
    this.#config = config;
    this.#target = target;
    this.#device = device;
    this.#meter = new RateMeter(systemClock, () => ({
      ...this.#counters(),
      drainedBytes: this.#replicator("drainedBytes"),
      resyncedBytes: this.#replicator("resyncedBytes"),
    }));
    this.ended = device.ended.finally(() => this.#meter.close());
    this.ended.catch(() => undefined); // whoever cares has a handler of his own
  }

  get parameters(): DeviceParameters {
    return this.#device.parameters;
  }

  async setMode(wanted: WantedMode): Promise<ModeReport> {
    if (this.#isStopping) throw isStopping("set the mode");
    const { replicator, mode, lastError } = this.#target.state;
    if (replicator === "detached" || replicator === "failed" || mode === "detached") {
      throw replicationHasEnded("set the mode", lastError?.message ?? null);
    }
    const { order, note } = stepTowards(mode, wanted);
    if (order === null) return { mode: this.#mode(), note };
    return { mode: await this.#target.order(order), note };
  }

  async verify({ repair, onProgress, signal }: VerifyOrder): Promise<VerifyReport> {
    if (this.#isStopping) throw isStopping("compare");
    const mine: RunningVerify = { sinceMs: systemClock.wallMs(), progress: null };
    let newest: DeviceProgress = { stage: "comparing" };
    const request = {
      repair,
      signal,
      onProgress: (progress: VerifyProgress) => {
        this.#verifying = mine;
        mine.progress = progress;
        newest = verifyProgress(progress, this.parameters.sizeBytes);
      },
    };
    try {
      return await reportRegularly(() => onProgress(newest), () => this.#target.verify(request));
    } finally {
      // Not that of another caller, which had this one refused.
      if (this.#verifying === mine) this.#verifying = null;
    }
  }

  async stop(onProgress?: (progress: DeviceProgress) => void): Promise<void> {
    this.#stopping = true;
    const report = () => onProgress?.(this.#stopProgress());
    await reportRegularly(report, () => this.#device.stop());
  }

  status(): StatusReport {
    const { path, sizeBytes } = this.#device.parameters;
    const rates = this.#meter.perSecond();
    const { views, state: { lastError } } = this.#target;
    return {
      version: deno.version,
      uuid: this.#config.uuid,
      device: path,
      target: "io-replica",
      mode: this.#mode(),
      pid: Deno.pid,
      startedMs: this.#startedMs,
      deviceSizeBytes: sizeBytes,
      primary: this.#config.path,
      replicaUri: this.#config.replica.uri,
      pool: this.#poolReport(),
      lag: this.#lagReport(),
      checkpoint: this.#checkpointReport(),
      dirty: views && dirtyReport(views),
      resync: this.#resyncReport(),
      verify: this.#verifyReport(),
      throughput: throughputReport(rates, rates.drainedBytes),
      counters: this.#counters(),
      replicaErrors: {
        retries: this.#replicator("storeRetries"),
        failedCommits: this.#replicator("commitErrors"),
        last: lastError && { atMs: lastError.atMs, message: lastError.message },
      },
      messages: this.#messages(),
    };
  }

  stats(): StatsReport {
    const counters: Record<string, number> = {};
    for (const name of Object.keys(QUEUE_COUNTER)) {
      counters[name] = this.#queues(name as keyof typeof QUEUE_COUNTER);
    }
    for (const name of Object.keys(REPLICATOR_COUNTER)) {
      counters[name] = this.#replicator(name as keyof typeof REPLICATOR_COUNTER);
    }
    const { views } = this.#target;
    // Not a counter, but what the others are read with.
    counters.dirtyRegions = views ? new IntentMap(views).dirtyCount() : 0;
    return { takenMs: systemClock.wallMs(), counters };
  }

  /** Also when nobody asked for it: the kernel ended the device, or a queue broke. */
  get #isStopping(): boolean {
    return this.#stopping || this.#target.isStopping;
  }

  #mode(): string {
    if (this.#isStopping) return "stopping";
    const { replicator, mode } = this.#target.state;
    if (replicator === "detached" || replicator === "failed") return "detached";
    // The replicator hears of a full pool only when the commit under way has ended.
    return mode === "logging" && !this.#historyIsWhole() ? "forward-part" : mode;
  }

  #historyIsWhole(): boolean {
    const { views } = this.#target;
    return views === null || new History(views).isWhole();
  }

  #resyncReport(): ResyncReport | null {
    const { views, state: { mode } } = this.#target;
    return views && resyncReport(views, mode, this.#meter.perSecond().resyncedBytes);
  }

  #verifyReport(): VerifyStatusReport | null {
    const { sinceMs, progress } = this.#verifying ?? {};
    if (!sinceMs || !progress) return null;
    const { sizeBytes: deviceSizeBytes } = this.parameters;
    return verifyStatusReport(progress, { deviceSizeBytes, sinceMs, nowMs: systemClock.wallMs() });
  }

  #stopProgress(): DeviceProgress {
    const { replicator, lastError } = this.#target.state;
    const trouble = replicator === "retrying" ? lastError?.message : undefined;
    const resync = this.#resyncReport();
    if (resync === null) {
      return { stage: "draining the pool", pendingBytes: this.#pendingBytes(), trouble };
    }
    const { pendingBytes, remainingSeconds } = resync;
    const remainingMs = remainingSeconds === null ? null : remainingSeconds * 1000;
    return { stage: "copying to the replica", pendingBytes, remainingMs, trouble };
  }

  #poolReport(): PoolReport {
    const words = this.#target.views?.words;
    return {
      sizeBytes: this.#config.poolBytes,
      usedBytes: this.#pendingBytes(),
      waitingTags: words ? Atomics.load(words, WORD.poolWaiters) : 0,
    };
  }

  #lagReport(): LagReport {
    const { views } = this.#target;
    if (views === null) return { bytes: 0, operations: 0, seconds: 0 };
    return lagReport(views, this.#pendingBytes(), systemClock.wallMs());
  }

  #checkpointReport(): CheckpointReport {
    const cno = this.#replicator("lastCno");
    const committedMs = this.#replicator("lastCommitMs");
    return {
      cno: cno === 0 ? null : cno,
      committedMs: committedMs === 0 ? null : committedMs,
      ageSeconds: committedMs === 0 ? null : (systemClock.wallMs() - committedMs) / 1000,
    };
  }

  #messages(): string[] {
    const { views, state: { replicator, mode, lastError, warnings } } = this.#target;
    const messages = statusMessages({
      hasEnded: replicator === "detached" || replicator === "failed",
      isRetrying: replicator === "retrying",
      lastError,
      mode,
      isHistoryWhole: this.#historyIsWhole(),
      unreadableBlocks: this.#replicator("unreadableBlocks"),
      hasFlushFailed: views !== null && hasFlushFailed(views.words),
      pool: this.#poolReport(),
    });
    return [...messages, ...warnings];
  }

  #pendingBytes(): number {
    const { pool } = this.#target;
    return pool ? pool.usedUnits() * pool.unitBytes : 0;
  }

  #counters(): CountersReport {
    return countersReport((name) => this.#queues(name));
  }

  #queues(name: keyof typeof QUEUE_COUNTER): number {
    const { views } = this.#target;
    return views ? sumQueues(views, QUEUE_COUNTER[name]) : 0;
  }

  #replicator(name: keyof typeof REPLICATOR_COUNTER): number {
    const { views } = this.#target;
    return views ? views.counters[replicatorCounters(views) + REPLICATOR_COUNTER[name]] : 0;
  }
}

function verifyProgress(progress: VerifyProgress, sizeBytes: number): DeviceProgress {
  const { stage, comparedBytes, differingBytes, remainingMs } = progress;
  const found = differingBytes === 0 ? "" : `, ${formatSize(differingBytes)} differ`;
  return {
    stage: (stage === "waiting" ? "waiting for a checkpoint" : "comparing") + found,
    pendingBytes: sizeBytes - comparedBytes,
    remainingMs,
  };
}
