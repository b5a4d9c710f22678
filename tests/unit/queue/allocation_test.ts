// The promise "the I/O path allocates nothing" (docs: performance), as a test: hundreds of thousands of
// requests of every kind through the real loop, and the heap has not grown. What is left over is a
// constant (the snapshots themselves, code that is optimised late), so the bound is a share of the
// smallest leak there could be: the least object of V8 has 16 bytes and the rarest kind of request is
// one of 16, so a kind that allocates costs at least 1 byte per operation.

import { GiB, KiB, MiB, SECTOR, TiB } from "../../../src/base/units.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_F_NOUNMAP,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../../../src/ublk/uapi.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import type { RequestKind } from "../../support/endless_queue.ts";
import type { HotLoopOptions } from "../../support/hot_loop.ts";
import { measureHotLoop } from "../../support/measure_hot_loop.ts";
import { sparseFile } from "../../support/temp_disk.ts";

const OPERATIONS = 300_000;
const BYTES_PER_OPERATION_MAX = 0.5;

function kind(share: number, opFlags: number, bytes: number, alignBytes = 4 * KiB): RequestKind {
  return { share, opFlags, bytes, alignBytes };
}

/** Reads, writes whole and in part, zeroings with edges, flushes; overlaps make some wait. */
const EVERY_KIND = [
  kind(3, UBLK_IO_OP_READ, 4 * KiB),
  kind(1, UBLK_IO_OP_READ, 64 * KiB, 512),
  kind(3, UBLK_IO_OP_WRITE, 4 * KiB),
  kind(1, UBLK_IO_OP_WRITE, 64 * KiB),
  kind(2, UBLK_IO_OP_WRITE, 512, 512),
  kind(1, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 4 * KiB),
  kind(1, UBLK_IO_OP_FLUSH, 0),
  kind(1, UBLK_IO_OP_DISCARD, 64 * KiB),
  kind(1, UBLK_IO_OP_DISCARD, 63 * KiB, 512),
  kind(1, UBLK_IO_OP_WRITE_ZEROES, 63 * KiB, 512),
  kind(1, UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, 64 * KiB),
];

const MIXED: Omit<HotLoopOptions, "handler" | "primaryPath"> = {
  direct: false,
  depth: 32,
  kinds: EVERY_KIND,
  // Offsets that no small integer holds: a boxed number is the easiest allocation to make.
  startBytes: 5 * TiB,
  spanBytes: 16 * MiB,
  warmUp: 150_000,
  operations: OPERATIONS,
  poolBytes: 64 * MiB,
};

/** Memory if there is any, so that a flush costs nothing. */
async function withPrimary(body: (path: string) => Promise<void>): Promise<void> {
  const shm = await Deno.stat("/dev/shm").catch(() => null);
  const dir = await Deno.makeTempDir(shm?.isDirectory ? { dir: "/dev/shm" } : {});
  try {
    await body(await sparseFile(`${dir}/primary`, 5 * TiB + GiB));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function assertNoAllocation(options: HotLoopOptions): Promise<void> {
  const { heapBytes, errors, collections } = await measureHotLoop(options);
  const perOperation = heapBytes / options.operations;
  assert(
    perOperation < BYTES_PER_OPERATION_MAX,
    `${options.handler}: ${perOperation.toFixed(3)} bytes per operation`,
  );
  assertEquals(collections, [], "nothing was collected meanwhile");
  assertEquals(errors, 0);
}

for (const handler of ["null", "loop", "replica"] as const) {
  Deno.test(`The I/O path of the ${handler} target allocates nothing`, async () => {
    await withPrimary((primaryPath) => assertNoAllocation({ ...MIXED, handler, primaryPath }));
  });
}

Deno.test("The I/O path allocates nothing where writes wait for the dirty map", async () => {
  await withPrimary((primaryPath) =>
    assertNoAllocation({
      ...MIXED,
      handler: "replica",
      primaryPath,
      forgetEvery: 5,
      // Blocks across borders are looked up like any others.
      regionBytes: 8 * MiB + SECTOR,
    })
  );
});

Deno.test("The allocation test sees one object in 16 operations", async () => {
  const { heapBytes, operations } = await measureHotLoop({
    ...MIXED,
    handler: "null",
    primaryPath: "/dev/zero",
    garbageEvery: 16,
  });
  assert(heapBytes / operations > BYTES_PER_OPERATION_MAX, `${heapBytes / operations}`);
});
