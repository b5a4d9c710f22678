// What a daemon answers, whole: a device with a replica, and a comparison that found nothing.

import type { StatusReport } from "../../src/control/protocol.ts";
import type { VerifyReport } from "../../src/replication/verify_report.ts";

export const STATUS: StatusReport = {
  version: "0.1.0",
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  device: "/dev/ublkb0",
  target: "io-replica",
  mode: "logging",
  pid: 17,
  startedMs: 1_000_000 - 8_000_000,
  deviceSizeBytes: 10 * 1024 ** 3,
  primary: "/dev/nvme0n1",
  replicaUri: "s3://backups/hosts/6f1d",
  pool: { sizeBytes: 1024 ** 3, usedBytes: 256 * 1024 ** 2, waitingTags: 3 },
  lag: { bytes: 5 * 1024 ** 2, operations: 1, seconds: 0.35 },
  checkpoint: { cno: 42, committedMs: 999_400, ageSeconds: 0.6 },
  dirty: { regions: 3, bytes: 24 * 1024 ** 2 },
  resync: null,
  verify: null,
  throughput: {
    readBytesPerSecond: 1024 ** 2,
    writeBytesPerSecond: 2 * 1024 ** 2,
    readsPerSecond: 256,
    writesPerSecond: 512,
    replicatedBytesPerSecond: 3 * 1024 ** 2,
  },
  counters: {
    reads: 100,
    readBytes: 409600,
    writes: 1,
    writtenBytes: 4096,
    flushes: 2,
    discards: 1,
    discardedBytes: 4096,
    writeZeroes: 0,
    zeroedBytes: 0,
    errors: 0,
  },
  replicaErrors: {
    retries: 7,
    failedCommits: 1,
    last: { atMs: 990_000, message: "503 Slow Down" },
  },
  messages: ["The pool is full: writes wait for the replica"],
};

export const EQUAL: VerifyReport = {
  comparedBytes: 64 * 1024 ** 2,
  deviceSizeBytes: 64 * 1024 ** 2,
  cno: 12,
  differing: [],
  damaged: [],
  unreadable: [],
  busyBytes: 0,
  isComplete: true,
  isRepairing: false,
  tookMs: 1500,
};
