import {
  describePointer,
  isInSegment,
  isZeroBlock,
  offsetOf,
  pointerHi,
  pointerLo,
  SEGMENT_ID_MAX,
  segmentIdOf,
} from "../../../src/format/block_ptr.ts";
import { assertEquals, assertThrows } from "../../support/assert.ts";

Deno.test("pointers of the worked example", () => {
  assertEquals([pointerHi(1), pointerLo(4096, 0, 2)], [0x40000001, 0x4000]);
  assertEquals([pointerHi(2), pointerLo(12288, 2, 2)], [0x40000002, 0xc000]);
});

Deno.test("pointerLo() and offsetOf() are inverse for every offset that fits", () => {
  for (const offset of [0, 4096, 2 ** 20, 2 ** 30 - 4096]) {
    assertEquals(offsetOf(pointerLo(offset, 0, 2), 2), offset);
    assertEquals(offsetOf(pointerLo(offset, 0xffffffff, 2), 2), offset);
    assertEquals(offsetOf(pointerLo(offset, 5, 1), 1), offset);
  }
  assertEquals(offsetOf(pointerLo(2 ** 32 - 4096, 0, 1), 1), 2 ** 32 - 4096);
});

Deno.test("pointerLo() stores the ordinal in groups of 16, modulo 2^14", () => {
  const groups = [0, 15, 16, 160, 16 * 2 ** 14, 16 * 2 ** 14 + 17];
  assertEquals(groups.map((seq) => pointerLo(0, seq, 2)), [0, 0, 1, 10, 0, 1]);
});

Deno.test("pointers that do not fit are refused, not masked", () => {
  assertThrows(() => pointerLo(2 ** 30, 0, 2), Error, "can be stored");
  assertThrows(() => pointerLo(2 ** 32, 0, 1), Error, "can be stored");
  assertThrows(() => pointerLo(100, 0, 2), Error, "can be stored");
  assertThrows(() => pointerHi(0), Error, "30 bits");
  assertThrows(() => pointerHi(SEGMENT_ID_MAX + 1), Error, "30 bits");
  assertEquals(segmentIdOf(pointerHi(SEGMENT_ID_MAX)), SEGMENT_ID_MAX);
});

Deno.test("pointers are classified by their location first", () => {
  const values: [number, number, string][] = [
    [0, 0, "a hole"],
    [0x3fffffff, 0, "the zero block"],
    [0x3fffffff, 0xffffffff, "the dummy pointer"],
    [0x40000007, 0x8000, "segment 7 offset 8192"],
    [0x40000000, 0x8000, "0x4000000000008000"],
    [0x80000001, 0x8000, "0x8000000100008000"],
    [0xc0000001, 0, "0xc000000100000000"],
    [0, 3, "0x0000000000000003"],
  ];
  assertEquals(values.map(([hi, lo]) => describePointer(hi, lo, 2)), values.map((row) => row[2]));
  const inSegment = [false, false, false, true, false, false, false, false];
  assertEquals(values.map(([hi]) => isInSegment(hi)), inSegment);
  assertEquals(values.filter(([hi, lo]) => isZeroBlock(hi, lo)).length, 1);
});
