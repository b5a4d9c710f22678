import {
  capacityOf,
  capacityOfBytes,
  clearUnused,
  countOf,
  emptyRoot,
  findSlot,
  keyAt,
  newNode,
  nodeBytes,
  NodeHeader,
  nodeProblem,
  rootProblem,
  rootWords,
  setEntry,
  setHeader,
  valueWord,
} from "../../../src/format/bmap.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { assertEquals } from "../../support/assert.ts";

const LIMITS = { format: 2, segmentIdMax: 9 } as const;

function leaf(keys: number[]) {
  const words = newNode(4096);
  setHeader(words, 1, keys.length);
  keys.forEach((key, i) => setEntry(words, i, key, 0x40000001, 0x4000 * (i + 1)));
  return words;
}

Deno.test("capacities and places of the arrays", () => {
  assertEquals([56, 4096, 16384, 2 ** 20].map(capacityOfBytes), [3, 255, 1023, 65535]);
  for (const [size, values] of [[56, 32], [4096, 2048], [16384, 8192]]) {
    const words = newNode(size);
    assertEquals([capacityOf(words), valueWord(words, 0) * 4], [capacityOfBytes(size), values]);
  }
});

Deno.test("setHeader() and setEntry() give the bytes of the record", () => {
  const words = leaf([5, 2 ** 40 + 7]);
  assertEquals(NodeHeader.decode(viewOf(nodeBytes(words))), {
    flags: 2,
    level: 1,
    nchildren: 2,
    userData: 0,
  });
  const view = viewOf(nodeBytes(words));
  assertEquals(view.getBigUint64(16, true), 2n ** 40n + 7n);
  assertEquals(view.getBigUint64(2056, true), 0x4000000100008000n);
  assertEquals([keyAt(words, 0), keyAt(words, 1)], [5, 2 ** 40 + 7]);
  setHeader(words, 2, 3, true);
  assertEquals([...nodeBytes(words).subarray(0, 4)], [1, 2, 3, 0]);
});

Deno.test("findSlot() gives the greatest key that is not above", () => {
  const words = leaf([5, 10, 2 ** 40]);
  const keys = [0, 4, 5, 9, 10, 2 ** 32, 2 ** 40, 2 ** 45];
  assertEquals(keys.map((key) => findSlot(words, key)), [-1, -1, 0, 0, 1, 1, 2, 2]);
});

Deno.test("clearUnused() zeroes what readers ignore", () => {
  const words = leaf([1, 2]).fill(0xffffffff, 6, 512).fill(0xffffffff, 516);
  words[1] = 77;
  clearUnused(words);
  assertEquals(words, leaf([1, 2]));
  assertEquals(countOf(words), 2);
});

Deno.test("nodeProblem() passes what is sound and names what is not", () => {
  assertEquals(nodeProblem(leaf([1, 2, 3]), LIMITS), null);
  assertEquals(nodeProblem(leaf([]), LIMITS), "0 children in a node for 255");
  assertEquals(nodeProblem(leaf([2, 1]), LIMITS), "key 1 follows 2");
  assertEquals(nodeProblem(leaf([1, 1]), LIMITS), "key 1 follows 1");
  assertEquals(
    nodeProblem(leaf([1]), { ...LIMITS, segmentIdMax: 0 }),
    "pointer to segment 1, younger than 0 (key 1)",
  );
});

Deno.test("rootProblem() accepts every direct form that other writers leave", () => {
  const root = emptyRoot(2);
  assertEquals(rootProblem(root, LIMITS), null);
  for (const header of [0, 1 << 8, (1 << 8) | (5 << 16)]) {
    root[0] = header;
    assertEquals(rootProblem(root, LIMITS), null);
  }
  root[2] = 7;
  assertEquals(rootProblem(root, LIMITS), "0x0000000000000007 in a live slot (block 0)");
});

Deno.test("rootWords() copies", () => {
  const bytes = nodeBytes(emptyRoot(2));
  const words = rootWords(bytes);
  words[0] = 99;
  assertEquals(bytes[0], 0);
});
