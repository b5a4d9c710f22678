import { assertEquals } from "../../support/assert.ts";
import { bitRun, countBits } from "../../../src/base/bits.ts";

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
