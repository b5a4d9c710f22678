import { assertEquals, assertThrows } from "../../support/assert.ts";
import {
  bytes,
  size64,
  struct,
  text,
  u16,
  u32,
  u64,
  u8,
  viewOf,
  zero,
} from "../../../src/base/struct.ts";

const Sample = struct("Sample", 40, {
  id: u64,
  size: size64,
  flags: u32,
  kind: u16,
  level: u8,
  pad: zero(1),
  tag: bytes(8),
  name: text(8),
});

const VALUES = {
  id: 0x1122334455667788n,
  size: 4096,
  flags: 7,
  kind: 2,
  level: 1,
  tag: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
  name: "vol",
};

Deno.test("struct() derives offsets in declaration order", () => {
  assertEquals(Sample.offset, {
    id: 0,
    size: 8,
    flags: 16,
    kind: 20,
    level: 22,
    pad: 23,
    tag: 24,
    name: 32,
  });
});

Deno.test("struct() round-trips through bytes", () => {
  assertEquals(Sample.decode(viewOf(Sample.toBytes(VALUES))), VALUES);
});

Deno.test("struct() is little-endian", () => {
  assertEquals([...Sample.toBytes(VALUES).subarray(0, 8)], [
    0x88,
    0x77,
    0x66,
    0x55,
    0x44,
    0x33,
    0x22,
    0x11,
  ]);
});

Deno.test("struct() refuses a size that the fields do not fill", () => {
  assertThrows(() => struct("Bad", 16, { a: u64 }), Error, "fill 16 bytes");
});

Deno.test("struct() refuses a field that would need padding", () => {
  assertThrows(() => struct("Bad", 12, { a: u32, b: u64 }), Error, "aligned");
});

Deno.test("decode() rejects reserved bytes that are set", () => {
  const raw = Sample.toBytes(VALUES);
  raw[Sample.offset.pad] = 1;
  assertThrows(() => Sample.decode(viewOf(raw)), Error, "reserved");
});

Deno.test("decode() rejects a short view and a size above 2^53", () => {
  assertThrows(() => Sample.decode(new DataView(new ArrayBuffer(39))), Error, "39 bytes of 40");
  const raw = Sample.toBytes(VALUES);
  raw.fill(0xff, Sample.offset.size, Sample.offset.size + 8);
  assertThrows(() => Sample.decode(viewOf(raw)), Error, "above 2^53");
});
