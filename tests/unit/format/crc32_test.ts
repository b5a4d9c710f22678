import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { crc32 } from "../../../src/format/crc32.ts";
import { assertEquals } from "../../support/assert.ts";

Deno.test("crc32() gives the check value of the polynomial", () => {
  assertEquals(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

Deno.test("crc32() is zlib's, of any bytes in any two pieces", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, cut) => {
    const whole = zlibCrc32(bytes);
    assertEquals(crc32(bytes), whole);
    assertEquals(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut))), whole);
  }));
});
