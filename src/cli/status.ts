// `status`: one screen about a running device.

import { formatSize } from "../base/units.ts";
import { status } from "../control/client.ts";
import type { LagReport, StatusReport } from "../control/protocol.ts";
import { defineCommand } from "./command.ts";
import { daemonChoice, daemonSocket } from "./find_daemon.ts";
import { formatDuration } from "./duration.ts";
import { formatTable } from "./table.ts";

export const statusCommand = defineCommand({
  name: "status",
  summary: "Show mode, IO lag, checkpoint and errors of a device",
  description:
    "Asks the device's daemon. Without an option it asks the one that listens on ./.ioreplica, or " +
    "else the only one that runs.",
  options: daemonChoice,
  examples: [["status -n 0", "The device /dev/ublkb0"], ["status --json", "For programs"]],
  async run(ctx, values) {
    const socket = await daemonSocket(ctx, values, { orOnly: true });
    const report = await status(socket, { signal: ctx.signal });
    ctx.stdout.write(
      values.json ? JSON.stringify(report, null, 2) + "\n" : statusText(report, ctx.clock.wallMs()),
    );
  },
});

/** The report as a person reads it. */
export function statusText(report: StatusReport, nowMs: number): string {
  const rows = [
    ["device", `${report.device}, ${formatSize(report.deviceSizeBytes)}, ${report.target}`],
    ...(report.mode === null ? [] : [["mode", report.mode]]),
    ["daemon", `pid ${report.pid}, up ${formatDuration(nowMs - report.startedMs)}`],
    ...(report.primary === null ? [] : [["primary", report.primary]]),
    ...(report.replicaUri === null ? [] : [["replica", report.replicaUri]]),
    ...(report.uuid === null ? [] : [["uuid", report.uuid]]),
    ...replicationRows(report),
    ...trafficRows(report),
    ...errorRows(report, nowMs),
  ];
  const messages = report.messages.map((message) => `! ${message}\n`).join("");
  return formatTable([], rows) + (messages === "" ? "" : `\n${messages}`);
}

function replicationRows(report: StatusReport): string[][] {
  const { checkpoint, lag, pool } = report;
  const rows = differenceRows(report);
  if (checkpoint !== null) {
    const age = checkpoint.ageSeconds === null
      ? ""
      : `, ${formatDuration(1000 * checkpoint.ageSeconds)} ago`;
    rows.push(["checkpoint", checkpoint.cno === null ? "none yet" : `${checkpoint.cno}${age}`]);
  }
  if (lag !== null) {
    rows.push(["IO lag", lagText(lag, report.resync !== null)]);
  }
  if (pool !== null) {
    const percent = Math.round(100 * pool.usedBytes / pool.sizeBytes);
    const waiting = pool.waitingTags === 0
      ? ""
      : `, ${count(pool.waitingTags, "request")} waiting for room`;
    const used = `${formatSize(pool.usedBytes)} of ${formatSize(pool.sizeBytes)}`;
    rows.push(["pool", `${bar(percent)} ${percent} %, ${used}${waiting}`]);
  }
  return rows;
}

function lagText({ bytes, operations, seconds }: LagReport, isResyncing: boolean): string {
  if (operations === 0 && seconds === 0) return "none: the replica has every write";
  const pooled = `${formatSize(bytes)} in ${count(operations, "operation")}`;
  return `${pooled}${isResyncing ? " and the resync" : ""}, ${formatDuration(1000 * seconds)}`;
}

/** What the replica lacks, and what is done about it. */
function differenceRows({ dirty, resync, verify, deviceSizeBytes }: StatusReport): string[][] {
  const rows: string[][] = [];
  if (resync) {
    const { doneBytes, pendingBytes, bytesPerSecond } = resync;
    const text = bytesPerSecond === 0
      ? `${formatSize(pendingBytes)} to copy`
      : progressOf(doneBytes, pendingBytes, resync);
    rows.push(["resync", text]);
  }
  if (verify) {
    const { stage, comparedBytes, pendingBytes, differingBytes } = verify;
    const found = differingBytes === 0 ? "" : `, ${formatSize(differingBytes)} differ`;
    rows.push(["verify", `${stage}, ${progressOf(comparedBytes, pendingBytes, verify)}${found}`]);
  }
  if (dirty) {
    const share = percentOf(dirty.bytes, deviceSizeBytes);
    const text = dirty.regions === 0
      ? "nothing"
      : `${count(dirty.regions, "region")}, ${formatSize(dirty.bytes)} (${share} of the device)`;
    rows.push(["dirty", text]);
  }
  return rows;
}

/** "31 %, 2.5GiB left, 80MiB/s, about 32s to go" */
function progressOf(
  doneBytes: number,
  pendingBytes: number,
  { bytesPerSecond, remainingSeconds }: {
    readonly bytesPerSecond: number;
    readonly remainingSeconds: number | null;
  },
): string {
  const left = `${percentOf(doneBytes, doneBytes + pendingBytes)}, ${
    formatSize(pendingBytes)
  } left`;
  const time = remainingSeconds === null
    ? ""
    : `, about ${formatDuration(1000 * remainingSeconds)} to go`;
  return `${left}, ${rate(bytesPerSecond)}${time}`;
}

/** Rounded down: 100 % is all of it. */
function percentOf(part: number, whole: number): string {
  if (part > 0 && part < whole / 100) return "< 1 %";
  return `${whole === 0 ? 100 : Math.floor(100 * part / whole)} %`;
}

function trafficRows({ counters, throughput, replicaUri }: StatusReport): string[][] {
  const reads = `${rate(throughput.readBytesPerSecond)}, ${perSecond(throughput.readsPerSecond)}`;
  const writes = `${rate(throughput.writeBytesPerSecond)}, ${
    perSecond(throughput.writesPerSecond)
  }`;
  return [
    ["reads", `${reads}; ${count(counters.reads, "read")} of ${formatSize(counters.readBytes)}`],
    [
      "writes",
      `${writes}; ${count(counters.writes, "write")} of ${formatSize(counters.writtenBytes)}`,
    ],
    ...(replicaUri === null ? [] : [["replicated", rate(throughput.replicatedBytesPerSecond)]]),
    [
      "other",
      `${count(counters.flushes, "flush", "es")}, ${count(counters.discards, "discard")}, ${
        count(counters.writeZeroes, "write-zeroes", "")
      }`,
    ],
  ];
}

function errorRows({ counters, replicaErrors }: StatusReport, nowMs: number): string[][] {
  const rows = [["IO errors", String(counters.errors)]];
  if (replicaErrors === null) return rows;
  const { retries, failedCommits, last } = replicaErrors;
  const tail = last === null ? "" : `; ${formatDuration(nowMs - last.atMs)} ago: ${last.message}`;
  const text = `${count(retries, "repeated request")}, ${count(failedCommits, "failed commit")}`;
  return [...rows, ["replica errors", text + tail]];
}

function count(n: number, singular: string, ending = "s"): string {
  return `${n} ${singular}${n === 1 ? "" : ending}`;
}

function rate(bytesPerSecond: number): string {
  return `${formatSize(Math.round(bytesPerSecond))}/s`;
}

function perSecond(operations: number): string {
  return `${Math.round(operations)}/s`;
}

function bar(percent: number): string {
  const full = Math.min(10, Math.round(percent / 10));
  return `[${"#".repeat(full)}${"-".repeat(10 - full)}]`;
}
