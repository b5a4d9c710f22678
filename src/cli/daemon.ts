// The daemon: runs one device from start to stop, in this process. Order, with reasons:
//   1. control socket  - a busy path is refused while nothing is changed yet
//   2. device          - usable from here on
//   3. state file      - so that `list` never shows a device that is not usable
//   4. ready report    - to stdout (a person, or the parent of a detached daemon)
//   5. wait            - for a signal, a stop request, or the end of the device
//   6. device.stop()   - drains; status and stop are still answered, with progress
//   7. state file, then the control socket: whoever waits for the answer to "stop" finds all done

import { messageOf, ReplicaError } from "../base/errors.ts";
import { roomLog } from "../base/log.ts";
import type { DeviceConfig } from "../config.ts";
import type { ModeReport, PingReport, StatsReport, StatusReport } from "../control/protocol.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { WantedMode } from "../replication/wanted_mode.ts";
import { processStart, removeState, writeState } from "../control/run_directory.ts";
import type { DeviceProgress, RunningDevice, VerifyOrder } from "../control/running_device.ts";
import { type ControlHandler, ControlServer } from "../control/server.ts";
import type { Context, SignalName } from "./context.ts";
import { absolutePath, reachableSocket } from "./paths.ts";
import { progressText } from "./progress_text.ts";
import type { ReadyReport } from "./ready_report.ts";

export interface DaemonOptions {
  readonly config: DeviceConfig;
  readonly version: string;
  readonly logFile: string | null;
  /** Called while the start takes its time; a failure stops the start. */
  onProgress?(progress: DeviceProgress): void;
  /** Called once, when the device is usable; a failure stops the device. */
  onReady(report: ReadyReport): void;
}

/** Runs a device until it is stopped; throws what kept it from starting or broke it. */
export async function runDaemon(ctx: Context, options: DaemonOptions): Promise<void> {
  const daemon = new Daemon(ctx, options);
  await daemon.run();
}

class Daemon implements ControlHandler {
  readonly #ctx: Context;
  readonly #options: DaemonOptions;
  readonly #log = roomLog("main");
  /** Aborted when the daemon is to stop, whoever wanted it. */
  readonly #stopWanted = new AbortController();
  readonly #finished = Promise.withResolvers<void>();
  readonly #progressListeners = new Set<(progress: DeviceProgress) => void>();
  #device: RunningDevice | null = null;
  #progress: DeviceProgress = { stage: "starting the device" };

  constructor(ctx: Context, options: DaemonOptions) {
    this.#ctx = ctx;
    this.#options = options;
    this.#finished.promise.catch(() => {
      // run() throws the same error; a stop request that waits gets it too
    });
  }

  async run(): Promise<void> {
    const { config } = this.#options;
    const server = await ControlServer.listen({
      path: config.unixSocket,
      handler: this,
      runDirectory: this.#ctx.runDirectory,
    });
    const onSignal = () => this.#signalled(this.#ctx.signal.reason);
    this.#ctx.signal.addEventListener("abort", onSignal);
    if (this.#ctx.signal.aborted) onSignal();
    const endRepeats = this.#ctx.onRepeatedSignal((name) => this.#signalledAgain(name));
    try {
      await this.#serveDevice();
      this.#finished.resolve();
    } catch (error) {
      this.#finished.reject(error);
      throw error;
    } finally {
      this.#ctx.signal.removeEventListener("abort", onSignal);
      endRepeats();
      await server.close();
    }
  }

  async #serveDevice(): Promise<void> {
    const { config } = this.#options;
    const device = await this.#ctx.platform.startDevice(config, {
      signal: this.#stopWanted.signal,
      onProgress: (progress) => this.#startProgress(progress),
    });
    this.#progress = { stage: "starting to stop" };
    this.#device = device;
    try {
      const report = await this.#writeState(device);
      this.#log.info("Device started", { device: device.parameters.path, pid: Deno.pid });
      this.#options.onReady(report);
      await this.#untilStopWanted(device);
    } finally {
      await this.#stopDevice(device);
    }
  }

  #startProgress(progress: DeviceProgress): void {
    this.#progress = progress;
    try {
      this.#options.onProgress?.(progress);
    } catch (error) {
      this.#log.warn("Nobody waits for the device any more", { reason: messageOf(error) });
      this.#stopWanted.abort("parent");
    }
  }

  async #writeState(device: RunningDevice): Promise<ReadyReport> {
    const { config, logFile } = this.#options;
    const { number, path, sizeBytes } = device.parameters;
    const socket = reachableSocket(config.unixSocket, Deno.pid);
    await writeState(this.#ctx.runDirectory, {
      version: 1,
      number,
      device: path,
      pid: Deno.pid,
      pidStart: await processStart(Deno.pid) ?? 0,
      startedMs: this.#ctx.clock.wallMs(),
      socket,
      logFile: logFile === null ? null : absolutePath(logFile),
      deviceSizeBytes: sizeBytes,
      config,
    });
    return { parameters: device.parameters, pid: Deno.pid, socket, logFile };
  }

  /** Resolves when a stop is wanted; throws what broke the device. */
  async #untilStopWanted(device: RunningDevice): Promise<void> {
    const { signal } = this.#stopWanted;
    const wanted = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => wanted.resolve());
    if (signal.aborted) return;
    // The timer keeps the event loop alive: a signal listener alone does not.
    const keepAlive = setInterval(() => {}, 3_600_000);
    try {
      await Promise.race([wanted.promise, device.ended]);
    } finally {
      clearInterval(keepAlive);
    }
  }

  async #stopDevice(device: RunningDevice): Promise<void> {
    const { number, path } = device.parameters;
    try {
      await device.stop((progress) => {
        this.#progress = progress;
        for (const listener of this.#progressListeners) listener(progress);
      });
    } catch (error) {
      // Where the kernel refused, the device may still be there, and `del` has to find it.
      if (error instanceof ReplicaError && error.kind !== "kernel") {
        await removeState(this.#ctx.runDirectory, number);
      }
      throw error;
    }
    await removeState(this.#ctx.runDirectory, number);
    this.#log.info("Device stopped", { device: path });
  }

  #signalled(name: SignalName): void {
    this.#log.info("Stop wanted by signal", { signal: name });
    this.#stopWanted.abort(name);
  }

  #signalledAgain(name: SignalName): void {
    this.#log.warn(`Still stopping: ${progressText(this.#progress)}`, { signal: name });
  }

  ping(): PingReport {
    const { config, version } = this.#options;
    return {
      pid: Deno.pid,
      version,
      device: this.#device?.parameters.path ?? null,
      uuid: config.target.type === "io-replica" ? config.target.uuid : null,
    };
  }

  status(): StatusReport {
    return this.#started().status();
  }

  stats(): StatsReport {
    return this.#started().stats();
  }

  async setMode(wanted: WantedMode): Promise<ModeReport> {
    const report = await this.#started().setMode(wanted);
    this.#log.info("Mode set by request", { wanted, mode: report.mode });
    return report;
  }

  async verify(order: VerifyOrder): Promise<VerifyReport> {
    const device = this.#started();
    this.#log.info("Comparison begun", { repair: order.repair });
    const report = await device.verify(order);
    const { comparedBytes, differing, damaged, unreadable, busyBytes, isRepairing } = report;
    this.#log.info("Comparison ended", {
      comparedBytes,
      differing: differing.length,
      damaged: damaged.length,
      unreadable: unreadable.length,
      busyBytes,
      isRepairing,
    });
    return report;
  }

  async stop(onProgress: (progress: DeviceProgress) => void): Promise<void> {
    this.#log.info("Stop wanted by request");
    this.#progressListeners.add(onProgress);
    onProgress(this.#progress);
    this.#stopWanted.abort("request");
    try {
      await this.#finished.promise;
    } catch (error) {
      // A start that ends because of this: whoever waits for the device hears of it, and here all is well.
      const isStart = this.#device === null && error instanceof ReplicaError &&
        error.kind === "closed";
      if (!isStart) throw error;
    } finally {
      this.#progressListeners.delete(onProgress);
    }
  }

  #started(): RunningDevice {
    if (this.#device !== null) return this.#device;
    throw new ReplicaError("unavailable", "Cannot show the device: it is still starting", {
      hint: `It is ${progressText(this.#progress)}. Repeat the command later.`,
    });
  }
}
