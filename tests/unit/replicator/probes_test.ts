import { assertEquals } from "../../support/assert.ts";
import { probesOf, stretchesOf } from "../../../src/replicator/probes.ts";

function probes(blocks: number[], alone: number[] = [], limit = 256): string[] {
  return probesOf(blocks, limit, new Set(alone)).map(({ firstBlock, blocks, wanted }) =>
    `${firstBlock}+${blocks}: ${wanted.join(" ")}`
  );
}

Deno.test("probesOf() reads small gaps along, and no large ones", () => {
  assertEquals(probes([]), []);
  assertEquals(probes([7]), ["7+1: 7"]);
  assertEquals(probes([1, 2, 18]), ["1+18: 1 2 18"]);
  assertEquals(probes([1, 2, 19]), ["1+2: 1 2", "19+1: 19"]);
});

Deno.test("probesOf() does not cross a multiple of the limit", () => {
  assertEquals(probes([6, 7, 8, 9], [], 8), ["6+2: 6 7", "8+2: 8 9"]);
});

Deno.test("probesOf() reads a block alone that is to be, also one in a gap", () => {
  assertEquals(probes([1, 2, 3], [2]), ["1+1: 1", "2+1: 2", "3+1: 3"]);
  assertEquals(probes([1, 2, 3], [1, 3]), ["1+1: 1", "2+1: 2", "3+1: 3"]);
  assertEquals(probes([1, 3, 4], [2]), ["1+1: 1", "3+2: 3 4"]);
  assertEquals(probes([1, 2], [0, 9]), ["1+2: 1 2"]);
});

Deno.test("stretchesOf() joins neighbours", () => {
  assertEquals(stretchesOf([]), []);
  assertEquals(stretchesOf([1, 2, 4]), [{ firstBlock: 1, blocks: 2 }, {
    firstBlock: 4,
    blocks: 1,
  }]);
});
