// The words of the guest runner: what a caller may ask for and what comes back.

/** A block device of the guest. Devices appear as /dev/vda, /dev/vdb… in this order. */
export interface DiskOptions {
  /** Also the link /dev/disk/by-id/NAME in the guest. Letters, digits, "-", "_"; at most 20. */
  name?: string;
  /** A file or block device of this machine; without it a sparse file that goes with the guest. */
  path?: string;
  /** Size of the file when it has to be created. */
  sizeBytes?: number;
  /** How the guest reaches it: "nvme" also advertises FUA. Default "virtio". */
  bus?: "virtio" | "nvme";
  /** QEMU's cache mode. "writethrough" hides the volatile write cache from the guest. Default "none". */
  cache?: "none" | "writeback" | "writethrough" | "directsync" | "unsafe";
  readOnly?: boolean;
  logicalBlockBytes?: number;
  physicalBlockBytes?: number;
  /** A slow disk: limits as QEMU's throttle filter takes them. */
  throttle?: { iopsTotal?: number; iopsWrite?: number; bytesPerSecond?: number };
  /** Sectors that fail, by QEMU's blkdebug filter. `sector` omitted: every request of that type. */
  faults?: readonly {
    type: "read" | "write" | "flush" | "discard" | "write-zeroes";
    sector?: number;
    /** 5 = EIO (the default), 28 = ENOSPC. */
    errno?: number;
    /** Fail only the first request that hits. */
    once?: boolean;
  }[];
  /** Records every write and flush in this file, in dm-log-writes format: see write_log.ts. */
  writeLogPath?: string;
}

/** Which stock Debian kernel to boot: 6.12 of bookworm-backports, or the 7.x of sid. */
export type KernelName = "backports" | "sid";

export interface GuestOptions {
  /** Program and arguments, or one string for bash. */
  command: readonly string[] | string;
  /** Working directory in the guest, which sees this machine's files. Default: the caller's. */
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  disks?: readonly DiskOptions[];
  /** A folder of this machine that the guest may write to, mounted at the same path. */
  share?: string;
  /** Network card; this machine's 127.0.0.1 is 10.0.2.2 in the guest. */
  network?: boolean;
  memoryMib?: number;
  /** Processors, default 1: emulated ones wait for each other, so that two are slower than one. */
  cpus?: number;
  kernel?: KernelName;
  /** Kernel modules loaded before the command; ublk_drv and virtio_blk always are. */
  modules?: readonly string[];
  /** The power is cut after this time. Default 300 s. */
  timeLimitMs?: number;
  /** A boot that takes longer stands still. Default 90 s. */
  bootLimitMs?: number;
  /** Also copies the guest's output to this process's stdout and stderr as it comes. */
  echo?: boolean;
  /** An interactive shell on this terminal instead of a command. */
  shell?: boolean;
}

/**
 * How a guest ended.
 * - `exited`: the command ended; exitCode is its own (128 + n for signal n).
 * - `power-cut`: powerCut() was called.
 * - `time-limit`: the command did not end in time.
 * - `panic`: the kernel panicked; see kernelLog.
 * - `died`: QEMU ended for another reason; see qemuLog.
 */
export type GuestOutcome = "exited" | "power-cut" | "time-limit" | "panic" | "died";

export interface GuestResult {
  outcome: GuestOutcome;
  /** The command's exit code, only when it exited. */
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
  /** The guest kernel's console: warnings and worse. */
  kernelLog: string;
  /** What QEMU itself had to say. */
  qemuLog: string;
  elapsedMs: number;
}

/** Lines of a kernel log that no healthy run has: oopses, BUGs, WARNINGs, hung tasks, lockups. */
export function kernelTrouble(kernelLog: string): string[] {
  return kernelLog.split("\n").filter((line) =>
    /\bBUG:|\bWARNING:|\bOops\b|Kernel panic|blocked for more than|lockup|general protection/
      .test(line)
  );
}
