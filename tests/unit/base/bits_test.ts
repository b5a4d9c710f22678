import { assertEquals } from "../../support/assert.ts";
import { bitRun, countBits, lowestBit } from "../../../src/base/bits.ts";

Deno.test("bitRun() sets a run of bits, and countBits() counts them, over all runs of a word", () => {
  for (let from = 0; from < 32; from++) {
    for (let count = 1; count <= 32 - from; count++) {
      const text = "1".repeat(count) + "0".repeat(from);
      assertEquals(bitRun(from, count) >>> 0, parseInt(text, 2), `${count} from ${from}`);
      assertEquals(countBits(bitRun(from, count)), count);
    }
  }
  assertEquals([countBits(0), countBits(-1), countBits(0x8000_0001 | 0)], [0, 32, 2]);
});

Deno.test("lowestBit() finds the lowest of any bits, the sign's too", () => {
  for (let bit = 0; bit < 32; bit++) {
    assertEquals(lowestBit(1 << bit), bit);
    assertEquals(lowestBit(-1 << bit), bit);
  }
});
