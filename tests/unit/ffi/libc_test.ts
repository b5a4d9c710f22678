import { ReplicaError } from "../../../src/base/errors.ts";
import { check, checkResult, errnoName, errnoNumber, errnoOf } from "../../../ffi/errno.ts";
import { EFD_CLOEXEC, O_CLOEXEC, O_RDONLY, openLibc } from "../../../ffi/libc.ts";
import {
  addressOf,
  bytesAt,
  cString,
  high32,
  low32,
  MEMORY_PAGE_BYTES,
  reachableCount,
  SharedArea,
} from "../../../ffi/memory.ts";
import { openLibrary } from "../../../ffi/open.ts";
import { assert, assertEquals, assertThrows } from "../../support/assert.ts";

Deno.test("openLibrary() names the package of a library that is missing", () => {
  const source = { names: ["libnothere.so.9"], debianPackage: "libnothere9" };
  assertThrows(() => openLibrary(source, {}), ReplicaError, "libnothere.so.9");
  try {
    openLibrary(source, {});
  } catch (error) {
    assert(error instanceof ReplicaError && error.hint?.includes("apt-get install libnothere9"));
  }
});

Deno.test("check() turns errno into a kernel error with the call and the name", () => {
  const libc = openLibc();
  const call = () => check(libc.open(cString("/no/such/file"), O_RDONLY, 0), "open /no/such/file");
  assertThrows(call, ReplicaError, "Cannot open /no/such/file: ENOENT");
  try {
    call();
  } catch (error) {
    assertEquals(errnoOf(error), "ENOENT");
  }
  assertThrows(() => checkResult(-5, "read"), ReplicaError, "Cannot read: EIO");
  assertEquals(checkResult(7, "read"), 7);
});

Deno.test("errno names and numbers are each other's inverse", () => {
  assertEquals(errnoName(28), "ENOSPC");
  assertEquals(errnoName(-28), "ENOSPC");
  assertEquals(errnoNumber("ENOSPC"), 28);
  assertEquals(errnoName(999), "errno 999");
});

Deno.test("SharedArea is page aligned, zeroed and reachable until it is released", () => {
  const before = reachableCount();
  const area = SharedArea.allocate(3 * MEMORY_PAGE_BYTES);
  assertEquals(area.address % BigInt(MEMORY_PAGE_BYTES), 0n);
  assertEquals(area.bytes.length, 3 * MEMORY_PAGE_BYTES);
  assert(area.bytes.every((byte) => byte === 0));
  const attached = SharedArea.attach(area.handle());
  assertEquals(attached.address, area.address);
  attached.bytes[5] = 17;
  assertEquals(bytesAt(area.address + 5n, 1)[0], 17);
  assertEquals(reachableCount(), before + 2);
  attached.release();
  area.release();
  assertEquals(reachableCount(), before);
});

Deno.test("libc reads and writes through shared memory", () => {
  const libc = openLibc();
  const path = Deno.makeTempFileSync();
  const area = SharedArea.allocate(MEMORY_PAGE_BYTES);
  try {
    const fd = check(libc.open(cString(path), 2 | O_CLOEXEC, 0), `open ${path}`);
    area.bytes.fill(7);
    assertEquals(check(libc.pwrite(fd, area.bytes, 4096n, 8192n), "write"), 4096);
    const back = new Uint8Array(4096);
    assertEquals(check(libc.pread(fd, back, 4096n, 8192n), "read"), 4096);
    assert(back.every((byte) => byte === 7));
    assertEquals(check(libc.lseek(fd, 0n, 2), "seek"), 12288);
    check(libc.close(fd), "close");
  } finally {
    area.release();
    Deno.removeSync(path);
  }
});

Deno.test("eventfd carries a count", () => {
  const libc = openLibc();
  const fd = check(libc.eventfd(0, EFD_CLOEXEC), "make an eventfd");
  const word = new BigUint64Array([3n]);
  check(libc.write(fd, new Uint8Array(word.buffer), 8n), "write the eventfd");
  const back = new BigUint64Array(1);
  check(libc.read(fd, new Uint8Array(back.buffer), 8n), "read the eventfd");
  assertEquals(back[0], 3n);
  check(libc.close(fd), "close");
});

Deno.test("low32() and high32() split addresses as an Int32Array stores them", () => {
  const words = new Int32Array([low32(0xfedcba9876543210n), high32(0xfedcba9876543210n)]);
  assertEquals(new BigUint64Array(words.buffer)[0], 0xfedcba9876543210n);
  assert(addressOf(words) > 0n);
});
