import { check, EAGAIN, EBUSY, ECANCELED, EINTR, EINVAL, ETIME } from "../../../ffi/errno.ts";
import { EFD_CLOEXEC, O_RDWR, openLibc } from "../../../ffi/libc.ts";
import { openLiburing } from "../../../ffi/liburing.ts";
import { cString, high32, low32, MEMORY_PAGE_BYTES, SharedArea } from "../../../ffi/memory.ts";
import {
  type CqeSink,
  IORING_FSYNC_DATASYNC,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_FSYNC,
  IORING_OP_NOP,
  IORING_OP_READ,
  IORING_OP_TIMEOUT,
  IORING_OP_WRITE,
  isPassingRefusal,
  Ring,
  writeTimespec,
} from "../../../src/ublk/ring.ts";
import { assert, assertEquals } from "../../support/assert.ts";

class Recorder implements CqeSink {
  readonly seen: [number, number][] = [];
  onCqe(userData: number, res: number): void {
    this.seen.push([userData, res]);
  }
  take(): [number, number][] {
    return this.seen.splice(0);
  }
}

function openRing(entries = 8): Ring {
  return Ring.open({ entries, completionEntries: 64, deferTaskRun: true });
}

function prepareNop(ring: Ring, userData: number): void {
  ring.prepare(IORING_OP_NOP, -1, 0, 0, 0, 0, 0, 0, userData);
}

Deno.test("Ring completes NOPs in batches across several turns of the ring", () => {
  const ring = openRing();
  const sink = new Recorder();
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 5; i++) prepareNop(ring, round * 5 + i);
    assertEquals(ring.submitAndWait(5), 5);
    assertEquals(ring.forEachCqe(sink), 5);
  }
  assertEquals(sink.take().map(([id]) => id), Array.from({ length: 500 }, (_, i) => i));
  ring.close();
  ring.close();
});

Deno.test("Ring submits by itself when all entries are taken", () => {
  const ring = openRing(4);
  const sink = new Recorder();
  for (let i = 0; i < 20; i++) prepareNop(ring, i);
  ring.submitAndWait(20);
  assertEquals(ring.forEachCqe(sink), 20);
  ring.close();
});

Deno.test("Ring submits again what the kernel refused for now, and gives up on other errors", () => {
  const library = openLiburing();
  const refusals: number[] = [];
  const ring = Ring.open({ entries: 4, completionEntries: 64, deferTaskRun: true }, {
    ...library,
    io_uring_submit: (ring) => -(refusals.shift() ?? -library.io_uring_submit(ring)),
  });
  const sink = new Recorder();
  refusals.push(EAGAIN, EBUSY, EINTR);
  for (let i = 0; i < 5; i++) prepareNop(ring, i);
  assertEquals(refusals, []);
  ring.submitAndWait(5);
  assertEquals(ring.forEachCqe(sink), 5);
  refusals.push(EINVAL);
  assertEquals(ring.submit(), -EINVAL);
  assertEquals([EAGAIN, EBUSY, EINTR, EINVAL].map((errno) => isPassingRefusal(-errno)), [
    true,
    true,
    true,
    false,
  ]);
  ring.close();
});

Deno.test("Ring keeps a negative user_data and reports -errno", () => {
  const ring = openRing();
  const sink = new Recorder();
  ring.prepare(255, -1, 0, 0, 0, 0, 0, 0, -5);
  ring.submitAndWait(1);
  ring.forEachCqe(sink);
  assertEquals(sink.take(), [[-5, -EINVAL]]);
  ring.close();
});

Deno.test("Ring reads and writes a file above 4 GiB", () => {
  const libc = openLibc();
  const path = Deno.makeTempFileSync();
  const fd = check(libc.open(cString(path), O_RDWR, 0), `open ${path}`);
  const area = SharedArea.allocate(2 * MEMORY_PAGE_BYTES);
  const ring = openRing();
  const sink = new Recorder();
  const [low, high] = [low32(area.address), high32(area.address)];
  area.bytes.fill(9, 0, MEMORY_PAGE_BYTES);
  ring.prepare(IORING_OP_WRITE, fd, MEMORY_PAGE_BYTES, 1, low, high, MEMORY_PAGE_BYTES, 0, 1);
  ring.submitAndWait(1);
  ring.prepare(IORING_OP_FSYNC, fd, 0, 0, 0, 0, 0, IORING_FSYNC_DATASYNC, 2);
  ring.submitAndWait(2);
  ring.prepare(
    IORING_OP_READ,
    fd,
    MEMORY_PAGE_BYTES,
    1,
    low + MEMORY_PAGE_BYTES,
    high,
    MEMORY_PAGE_BYTES,
    0,
    3,
  );
  ring.submitAndWait(3);
  ring.forEachCqe(sink);
  assertEquals(sink.take(), [[1, MEMORY_PAGE_BYTES], [2, 0], [3, MEMORY_PAGE_BYTES]]);
  assert(area.bytes.subarray(MEMORY_PAGE_BYTES).every((byte) => byte === 9));
  assertEquals(Deno.statSync(path).size, 2 ** 32 + 2 * MEMORY_PAGE_BYTES);
  ring.close();
  libc.close(fd);
  area.release();
  Deno.removeSync(path);
});

Deno.test("Ring is woken by a write to an eventfd whose read is armed", () => {
  const libc = openLibc();
  const fd = check(libc.eventfd(0, EFD_CLOEXEC), "make an eventfd");
  const area = SharedArea.allocate(MEMORY_PAGE_BYTES);
  const ring = openRing();
  const sink = new Recorder();
  ring.prepare(IORING_OP_READ, fd, 0, 0, low32(area.address), high32(area.address), 8, 0, 7);
  ring.submit();
  ring.poll();
  assertEquals(ring.forEachCqe(sink), 0);
  libc.write(fd, new Uint8Array(new BigUint64Array([5n]).buffer), 8n);
  ring.submitAndWait(1);
  ring.forEachCqe(sink);
  assertEquals(sink.take(), [[7, 8]]);
  assertEquals(area.bytes[0], 5);
  ring.close();
  libc.close(fd);
  area.release();
});

Deno.test("Ring times out and cancels", () => {
  const area = SharedArea.allocate(MEMORY_PAGE_BYTES);
  const ring = Ring.open({ entries: 8, completionEntries: 8, wideSqes: true });
  const sink = new Recorder();
  const [low, high] = [low32(area.address), high32(area.address)];
  writeTimespec(area, 20);
  const before = performance.now();
  ring.prepare(IORING_OP_TIMEOUT, -1, 0, 0, low, high, 1, 0, 1);
  ring.submitAndWait(1);
  ring.forEachCqe(sink);
  assertEquals(sink.take(), [[1, -ETIME]]);
  assert(performance.now() - before >= 19);
  writeTimespec(area, 60_000);
  ring.prepare(IORING_OP_TIMEOUT, -1, 0, 0, low, high, 1, 0, 2);
  ring.prepare(IORING_OP_ASYNC_CANCEL, -1, 0, 0, 2, 0, 0, 0, 3);
  ring.submitAndWait(2);
  ring.forEachCqe(sink);
  assertEquals(sink.take().sort(), [[2, -ECANCELED], [3, 0]]);
  ring.close();
  area.release();
});
