import { check, EBADF, EIO } from "../../../ffi/errno.ts";
import { O_RDWR, openLibc } from "../../../ffi/libc.ts";
import { cString, SharedArea } from "../../../ffi/memory.ts";
import { KiB, SECTOR } from "../../../src/base/units.ts";
import { LoopHandler } from "../../../src/queue/loop_handler.ts";
import { NullHandler } from "../../../src/queue/null_handler.ts";
import { TargetQueue } from "../../../src/queue/target_queue.ts";
import { QUEUE_COUNTER } from "../../../src/shared/counters.ts";
import { COUNTER_ROW } from "../../../src/shared/layout.ts";
import { Ring } from "../../../src/ublk/ring.ts";
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
import { CompletionPump, FakeUblkQueue } from "../../support/fake_ublk_queue.ts";

const DEPTH = 4;
const BUFFER = 64 * KiB;

interface Bench {
  queue: FakeUblkQueue;
  handler: LoopHandler;
  counters: Float64Array;
  request(tag: number, opFlags: number, startSector: number, sectors: number): number;
}

/** Runs `test` on a loop handler in front of a file of `sizeBytes`, or of the descriptor `fd`. */
function withLoop(options: { sizeBytes?: number; fd?: number }, test: (bench: Bench) => void) {
  const libc = openLibc();
  const path = Deno.makeTempFileSync();
  if (options.sizeBytes) Deno.truncateSync(path, options.sizeBytes);
  const fd = options.fd ?? check(libc.open(cString(path), O_RDWR, 0), `open ${path}`);
  const area = SharedArea.allocate(DEPTH * BUFFER);
  const ring = Ring.open({ entries: 16, completionEntries: 32, deferTaskRun: true });
  try {
    const queue = new FakeUblkQueue(area, DEPTH);
    const target = new TargetQueue({ ring, queue, primaryFd: fd });
    const counters = new Float64Array(COUNTER_ROW);
    const handler = new LoopHandler(target, counters);
    const pump = new CompletionPump(ring, target, handler);
    test({
      queue,
      handler,
      counters,
      request(tag, opFlags, startSector, sectors) {
        queue.put(tag, { opFlags, startSector, sectors });
        handler.start(tag);
        pump.run();
        return queue.answers.get(tag)!;
      },
    });
  } finally {
    ring.close();
    if (options.fd === undefined) libc.close(fd);
    area.release();
    Deno.removeSync(path);
  }
}

Deno.test("LoopHandler writes, flushes and reads back, above 4 GiB too", () => {
  withLoop({ sizeBytes: 2 ** 40 }, ({ queue, request, counters }) => {
    const sector = (2 ** 40 - 128 * KiB) / SECTOR;
    queue.buffer(1).fill(0x5a);
    assertEquals(request(1, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, sector, 128), 64 * KiB);
    assertEquals(request(2, UBLK_IO_OP_FLUSH, 0, 0), 0);
    assertEquals(request(3, UBLK_IO_OP_READ, sector, 128), 64 * KiB);
    assert(queue.buffer(3).every((byte) => byte === 0x5a));
    assertEquals(counters[QUEUE_COUNTER.writes], 1);
    assertEquals(counters[QUEUE_COUNTER.readBytes], 64 * KiB);
    assertEquals(counters[QUEUE_COUNTER.flushes], 1);
  });
});

Deno.test("LoopHandler makes discarded and zeroed ranges read as zeros, and nothing else", () => {
  withLoop({ sizeBytes: 256 * KiB }, ({ queue, request }) => {
    queue.buffer(0).fill(0xff);
    const ops = [
      UBLK_IO_OP_DISCARD,
      UBLK_IO_OP_WRITE_ZEROES,
      UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP,
    ];
    for (const op of ops) {
      assertEquals(request(0, UBLK_IO_OP_WRITE, 0, 128), 64 * KiB);
      assertEquals(request(1, op, 9, 78), 0);
      assertEquals(request(1, UBLK_IO_OP_READ, 0, 128), 64 * KiB);
      const bytes = queue.buffer(1);
      assert(bytes.subarray(0, 9 * SECTOR).every((byte) => byte === 0xff));
      assert(bytes.subarray(9 * SECTOR, 87 * SECTOR).every((byte) => byte === 0));
      assert(bytes.subarray(87 * SECTOR).every((byte) => byte === 0xff));
    }
  });
});

Deno.test("LoopHandler fails a read that the file ends within", () => {
  withLoop({ sizeBytes: 8 * KiB }, ({ request, counters }) => {
    assertEquals(request(0, UBLK_IO_OP_READ, 0, 16), 8 * KiB);
    assertEquals(request(0, UBLK_IO_OP_READ, 8, 16), -EIO);
    assertEquals(request(0, UBLK_IO_OP_READ, 64, 16), -EIO);
    assertEquals(counters[QUEUE_COUNTER.errors], 2);
  });
});

Deno.test("LoopHandler passes errors of the primary on", () => {
  withLoop({ fd: 1_000_000 }, ({ request, counters }) => {
    assertEquals(request(0, UBLK_IO_OP_READ, 0, 8), -EBADF);
    assertEquals(request(0, UBLK_IO_OP_WRITE, 0, 8), -EBADF);
    assertEquals(request(0, UBLK_IO_OP_FLUSH, 0, 0), -EBADF);
    assertEquals(request(0, UBLK_IO_OP_DISCARD, 0, 8), -EBADF);
    assertEquals(counters[QUEUE_COUNTER.errors], 4);
  });
});

Deno.test("LoopHandler continues transfers that come back short", () => {
  // A pipe gives what it has: 4096 bytes first, the rest when somebody writes it.
  const libc = openLibc();
  const ends = new Int32Array(2);
  check(libc.pipe2(new Uint8Array(ends.buffer), 0), "make a pipe");
  const page = new Uint8Array(4096).fill(3);
  libc.write(ends[1], page, 4096n);
  const area = SharedArea.allocate(DEPTH * BUFFER);
  const ring = Ring.open({ entries: 16, completionEntries: 32, deferTaskRun: true });
  const queue = new FakeUblkQueue(area, DEPTH);
  const target = new TargetQueue({ ring, queue, primaryFd: ends[0] });
  const handler = new LoopHandler(target, new Float64Array(COUNTER_ROW));
  const pump = new CompletionPump(ring, target, handler);
  queue.put(2, { opFlags: UBLK_IO_OP_READ, startSector: 0, sectors: 16 });
  handler.start(2);
  ring.submitAndWait(1);
  ring.forEachCqe(pump);
  assertEquals(queue.answers.size, 0);
  libc.write(ends[1], page, 4096n);
  pump.run();
  assertEquals(queue.answers.get(2), 8192);
  assert(queue.buffer(2).subarray(0, 8192).every((byte) => byte === 3));
  ring.close();
  libc.close(ends[0]);
  libc.close(ends[1]);
  area.release();
});

Deno.test("NullHandler answers at once", () => {
  const area = SharedArea.allocate(DEPTH * BUFFER);
  const ring = Ring.open({ entries: 16, completionEntries: 32, deferTaskRun: true });
  const queue = new FakeUblkQueue(area, DEPTH);
  const target = new TargetQueue({ ring, queue, primaryFd: -1 });
  const handler = new NullHandler(target, new Float64Array(COUNTER_ROW));
  queue.put(0, { opFlags: UBLK_IO_OP_READ, startSector: 5, sectors: 8 });
  queue.put(1, { opFlags: UBLK_IO_OP_FLUSH, startSector: 0, sectors: 0 });
  queue.put(2, { opFlags: UBLK_IO_OP_DISCARD, startSector: 0, sectors: 8 });
  [0, 1, 2].forEach((tag) => handler.start(tag));
  assertEquals([...queue.answers], [[0, 4096], [1, 0], [2, 0]]);
  ring.close();
  area.release();
});
