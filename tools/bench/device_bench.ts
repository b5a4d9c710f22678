// Writes through loop and through io-replica with the replicator at work beside it, natively: a whole
// device but for the driver. So the ratio is seen where JavaScript runs at full speed, too.

import { GiB, KiB, MiB } from "../../src/base/units.ts";
import { UBLK_IO_OP_WRITE } from "../../src/ublk/uapi.ts";
import type { HotLoopOptions, HotLoopResult } from "../../tests/support/hot_loop.ts";
import { median } from "./guest_results.ts";
import { say, table } from "./print.ts";
import { inRounds } from "./rounds.ts";

const PROBE = new URL("./device_probe.ts", import.meta.url).pathname;
const FILE_BYTES = 256 * MiB;
/** Less than the pool holds: the path is measured, not the replica. */
const WRITTEN_BYTES = 768 * MiB;

interface DeviceWorkload {
  readonly name: string;
  readonly bytes: number;
  readonly depth: number;
  readonly operations: number;
}

const WORKLOADS: readonly DeviceWorkload[] = [
  { name: "4 KiB random write, depth 1", bytes: 4 * KiB, depth: 1, operations: 30_000 },
  { name: "4 KiB random write, depth 32", bytes: 4 * KiB, depth: 32, operations: 160_000 },
  { name: "512 KiB random write, depth 8", bytes: 512 * KiB, depth: 8, operations: 1_300 },
];

export interface DeviceRow {
  readonly workload: string;
  readonly loopPerSecond: number;
  readonly replicaPerSecond: number;
  /** Median of the ratios within each round. */
  readonly ratio: number;
  /** Of all threads. */
  readonly loopCpuMicros: number;
  readonly replicaCpuMicros: number;
}

export async function deviceBench(options: { rounds: number }): Promise<DeviceRow[]> {
  return await inRounds({
    ...options,
    fileBytes: FILE_BYTES,
    workloads: WORKLOADS,
    async measure(workload: DeviceWorkload, path: string) {
      const loop = await measure("loop", workload, path);
      const replica = await measure("replica", workload, path);
      return { loop, replica };
    },
    row: ({ name }, pairs): DeviceRow => ({
      workload: name,
      loopPerSecond: median(pairs.map(({ loop }) => perSecond(loop))),
      replicaPerSecond: median(pairs.map(({ replica }) => perSecond(replica))),
      ratio: median(pairs.map(({ loop, replica }) => perSecond(replica) / perSecond(loop))),
      loopCpuMicros: median(pairs.map(({ loop }) => cpuMicros(loop))),
      replicaCpuMicros: median(pairs.map(({ replica }) => cpuMicros(replica))),
    }),
  });
}

function perSecond({ operations, seconds }: HotLoopResult): number {
  return operations / seconds;
}

function cpuMicros({ operations, cpuSeconds }: HotLoopResult): number {
  return cpuSeconds * 1e6 / operations;
}

async function measure(
  handler: "loop" | "replica",
  workload: DeviceWorkload,
  primaryPath: string,
): Promise<HotLoopResult> {
  const { bytes, depth, operations } = workload;
  const options: HotLoopOptions = {
    handler,
    direct: true,
    primaryPath,
    depth,
    kinds: [{ opFlags: UBLK_IO_OP_WRITE, bytes, alignBytes: bytes, share: 1 }],
    startBytes: 0,
    spanBytes: FILE_BYTES,
    warmUp: Math.min(30_000, WRITTEN_BYTES / bytes - operations),
    operations,
    poolBytes: GiB,
  };
  const folder = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "bench-" });
  try {
    const job = JSON.stringify({ options, folder: `${folder}/replica` });
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", PROBE, job],
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`Cannot measure a device: ${decoder.decode(stderr)}`);
    return JSON.parse(decoder.decode(stdout));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export function printDevice(rows: readonly DeviceRow[]): void {
  say(`
Writes with the replicator at work beside the queue, natively: a file with direct I/O for the primary, the
replica in memory, a NOP of io_uring for the driver's command. Two threads; CPU is that of both.`);
  say(table(
    ["", "loop/s", "io-replica/s", "replica/loop", "loop us/op", "io-replica us/op"],
    rows.map((row) => [
      row.workload,
      row.loopPerSecond.toFixed(0),
      row.replicaPerSecond.toFixed(0),
      row.ratio.toFixed(2),
      row.loopCpuMicros.toFixed(1),
      row.replicaCpuMicros.toFixed(1),
    ]),
  ));
}
