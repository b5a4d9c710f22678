// What an operation costs on the I/O path itself: the real loop, handlers, pool and ring natively, with
// a NOP of the ring for the driver's command (tests/support/hot_loop.ts). On /dev/zero the primary costs
// nothing and what is left is the path; on a file with direct I/O it is the drive that counts.

import { GiB, KiB, MiB } from "../../src/base/units.ts";
import { UBLK_IO_OP_READ, UBLK_IO_OP_WRITE } from "../../src/ublk/uapi.ts";
import type { HotLoopOptions } from "../../tests/support/hot_loop.ts";
import { measureHotLoop } from "../../tests/support/measure_hot_loop.ts";
import { withFilledFile } from "./filled_file.ts";
import { median } from "./guest_results.ts";
import { say, table } from "./print.ts";

const FILE_BYTES = 256 * MiB;

export interface HotLoopRow {
  readonly primary: "/dev/zero" | "file, direct";
  readonly operation: "read" | "write";
  readonly handler: HotLoopOptions["handler"];
  readonly operationsPerSecond: number;
  readonly cpuMicrosPerOperation: number;
  readonly heapBytesPerOperation: number;
}

const HANDLERS = ["null", "loop", "replica"] as const;
const OPERATIONS = { read: UBLK_IO_OP_READ, write: UBLK_IO_OP_WRITE } as const;

/** Rounds of all handlers side by side; medians. */
export async function hotLoopBench(options: { rounds: number }): Promise<HotLoopRow[]> {
  return await withFilledFile(FILE_BYTES, async (path) => {
    const rows: HotLoopRow[] = [];
    for (const primary of ["/dev/zero", "file, direct"] as const) {
      for (const operation of ["read", "write"] as const) {
        rows.push(...await measureSide({ primary, operation, path, rounds: options.rounds }));
      }
    }
    return rows;
  });
}

async function measureSide(options: {
  primary: HotLoopRow["primary"];
  operation: HotLoopRow["operation"];
  path: string;
  rounds: number;
}): Promise<HotLoopRow[]> {
  const { primary, operation, path, rounds } = options;
  const direct = primary !== "/dev/zero";
  // The null target touches no primary.
  const handlers = direct ? HANDLERS.filter((handler) => handler !== "null") : HANDLERS;
  const taken = new Map<string, HotLoopRow[]>(handlers.map((handler) => [handler, []]));
  for (let round = 0; round < rounds; round++) {
    for (const handler of handlers) {
      const { operations, seconds, cpuSeconds, heapBytes } = await measureHotLoop({
        handler,
        direct,
        primaryPath: direct ? path : primary,
        depth: 32,
        kinds: [{ opFlags: OPERATIONS[operation], bytes: 4 * KiB, alignBytes: 4 * KiB, share: 1 }],
        startBytes: direct ? 0 : 16 * GiB,
        spanBytes: FILE_BYTES,
        warmUp: direct ? 20_000 : 300_000,
        operations: direct ? 100_000 : 1_000_000,
        poolBytes: 64 * MiB,
      });
      taken.get(handler)!.push({
        primary,
        operation,
        handler,
        operationsPerSecond: operations / seconds,
        cpuMicrosPerOperation: cpuSeconds * 1e6 / operations,
        heapBytesPerOperation: heapBytes / operations,
      });
    }
  }
  return handlers.map((handler) => medianRow(taken.get(handler)!));
}

function medianRow(rows: readonly HotLoopRow[]): HotLoopRow {
  return {
    ...rows[0],
    operationsPerSecond: median(rows.map((row) => row.operationsPerSecond)),
    cpuMicrosPerOperation: median(rows.map((row) => row.cpuMicrosPerOperation)),
    heapBytesPerOperation: median(rows.map((row) => row.heapBytesPerOperation)),
  };
}

export function printHotLoop(rows: readonly HotLoopRow[]): void {
  say(`
The I/O path, natively: 4 KiB requests, depth 32, one thread that also empties the pool, a NOP of io_uring
for the driver's command. Heap: growth of V8's heap, a constant of some ten KiB over all the operations; no collection ran.`);
  say(table(
    ["", "operations/s", "of loop", "CPU us/op", "heap bytes/op"],
    rows.map((row) => {
      const loop = rows.find((other) =>
        other.handler === "loop" && other.primary === row.primary &&
        other.operation === row.operation
      );
      return [
        `${row.primary}, random ${row.operation}: ${row.handler}`,
        row.operationsPerSecond.toFixed(0),
        (row.operationsPerSecond / loop!.operationsPerSecond).toFixed(2),
        row.cpuMicrosPerOperation.toFixed(2),
        row.heapBytesPerOperation.toFixed(2),
      ];
    }),
  ));
}
