// What the daemon (src/cli/daemon.ts) needs of a running device, whatever its target: src/device/device.ts
// and the tests' fake device implement it.

import type { VerifyReport } from "../replication/verify_report.ts";
import type { WantedMode } from "../replication/wanted_mode.ts";
import type { ModeReport, StatusSource } from "./protocol.ts";

/** What a device became, as `add` prints it: the kernel may grant fewer queues than were asked for. */
export interface DeviceParameters {
  readonly number: number;
  /** "/dev/ublkb0" */
  readonly path: string;
  readonly sizeBytes: number;
  readonly queues: number;
  readonly depth: number;
  readonly bufferBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly readOnly: boolean;
}

/** How far a start or a stop has come, in words for the operator. */
export interface DeviceProgress {
  /** "draining the pool" */
  readonly stage: string;
  /** Bytes still to go. */
  readonly pendingBytes?: number;
  /** Expected time to the end of the stage; null: not known yet. */
  readonly remainingMs?: number | null;
  /** What holds it up: "Cannot put …: 503". */
  readonly trouble?: string;
}

/** What the start of a device takes besides its configuration. */
export interface DeviceStart {
  /** Aborted: the start ends with `closed` and leaves nothing behind. */
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: DeviceProgress) => void;
}

export interface VerifyOrder {
  /** What differs is copied again. */
  readonly repair: boolean;
  /** Called at least every second, also while nothing advances. */
  readonly onProgress: (progress: DeviceProgress) => void;
  /** Aborted: nobody waits any more. */
  readonly signal: AbortSignal;
}

export interface RunningDevice extends StatusSource {
  readonly parameters: DeviceParameters;
  /**
   * Resolves when the device ended without stop() (deleted by another program), and rejects with
   * what broke it. Pending while the device runs; resolves too once stop() is through.
   */
  readonly ended: Promise<void>;
  /** Resolves when the mode is what was wanted, or leads there by itself. */
  setMode(wanted: WantedMode): Promise<ModeReport>;
  /** Compares primary and replica while both change. */
  verify(request: VerifyOrder): Promise<VerifyReport>;
  /** Clean stop: drains, cuts the last checkpoint, removes the device. Later calls join the first. */
  stop(onProgress?: (progress: DeviceProgress) => void): Promise<void>;
}
