// The benchmark in the guest, from outside: makes the disks, runs guest_probe.ts, prints the tables.

import { GiB, MiB } from "../../src/base/units.ts";
import { runWithUblk } from "../guest/here.ts";
import { accelerator } from "../guest/qemu.ts";
import {
  type GuestJob,
  type GuestRun,
  type Ratio,
  type RowSummary,
  summarise,
  TARGETS,
} from "./guest_results.ts";
import { say, table } from "./print.ts";

const PROBE = new URL("./guest_probe.ts", import.meta.url).pathname;
const ROOT = new URL("../../", import.meta.url).pathname;
const SPAN_BYTES = 512 * MiB;
/** Room for the metadata behind the device. */
const DISK_BYTES = SPAN_BYTES + 64 * MiB;
/** The replica keeps every checkpoint, and lies in there. */
const MEMORY_MIB = 8192;
const WARM_UP_SECONDS = 20;
/** Beside what fio takes: boot, start, first fill. */
const OVERHEAD_MS = 300_000;
/** fio's start and the replica's catching up. */
const ROW_OVERHEAD_MS = 30_000;

export interface GuestReport {
  readonly run: GuestRun;
  readonly rows: readonly RowSummary[];
  readonly cpus: number;
  readonly accelerator: string;
}

export async function guestBench(options: {
  rounds: number;
  seconds: number;
  cpus: number;
}): Promise<GuestReport> {
  const { rounds, seconds, cpus } = options;
  const job: GuestJob = {
    rounds,
    seconds,
    warmUpSeconds: WARM_UP_SECONDS,
    spanBytes: SPAN_BYTES,
    poolBytes: GiB,
  };
  const share = await Deno.makeTempDir({ prefix: "bench-" });
  const rowMs = TARGETS.length * (seconds + 1) * 1000 + ROW_OVERHEAD_MS;
  try {
    const result = await runWithUblk({
      command: [Deno.execPath(), "run", "-A", "--quiet", "--no-check", PROBE, JSON.stringify(job)],
      cwd: ROOT,
      disks: Array.from({ length: 3 }, () => ({ sizeBytes: DISK_BYTES })),
      share,
      cpus,
      memoryMib: MEMORY_MIB,
      timeLimitMs: OVERHEAD_MS + rounds * 6 * rowMs,
      echo: true,
    });
    if (result.exitCode !== 0) {
      throw new Error(`The benchmark in the guest failed: ${result.outcome}\n${result.stderr}`);
    }
    const run: GuestRun = JSON.parse(await Deno.readTextFile(`${share}/guest.json`));
    return { run, rows: summarise(run.samples), cpus, accelerator: accelerator() };
  } finally {
    await Deno.remove(share, { recursive: true });
  }
}

export function printGuest({ run, rows, cpus, accelerator }: GuestReport): void {
  say(`
fio on the bare disk and on our devices, in a guest: Linux ${run.kernel}, ${accelerator}, ${cpus} CPUs.
io_uring, direct, ${run.seconds} s a run, ${run.rounds} rounds side by side, medians. One queue of depth 128; pool
of ${run.poolBytes / MiB} MiB; replica file:// in the guest's memory, caught up before each run.`);
  say(table(
    ["", ...TARGETS.map((target) => target === "replica" ? "io-replica" : target)],
    rows.map(({ row, targets }) => [
      `${row}\n  MiB/s\n  latency p50 / p99, us`,
      ...TARGETS.map((target) => {
        const { iops, bytesPerSecond, p50Us, p99Us } = targets[target];
        return `${iops.toFixed(0)} IOPS\n${(bytesPerSecond / MiB).toFixed(1)}\n${
          p50Us.toFixed(0)
        } / ${p99Us.toFixed(0)}`;
      }),
    ]),
  ));
  say("Ratios of operations per second, and what is aimed at:");
  say(table(
    ["", "loop/bare", "replica/loop", "replica/null"],
    rows.map(({ row, ratios }) => [row, ...ratios.map(ratioText)]),
  ));
  const full = run.drains.filter(({ poolWaits }) => poolWaits > 0);
  for (const { row, round, poolWaits } of full) {
    say(`The pool was full: ${row}, round ${round + 1}, ${poolWaits} requests waited`);
  }
}

function ratioText({ value, target }: Ratio): string {
  if (target === null) return value.toFixed(2);
  return `${value.toFixed(2)} ${value >= target ? "≥" : "BELOW"} ${target.toFixed(2)}`;
}
