import { ChunkReader, mergeNeighbours, totalBytes } from "../../../src/replica/gather.ts";
import { assertEquals } from "../../support/assert.ts";

Deno.test("mergeNeighbours() joins what lies side by side in one buffer, and nothing else", () => {
  const buffer = new Uint8Array(100).map((_, i) => i);
  const other = new Uint8Array(10);
  const chunks = [
    buffer.subarray(0, 10),
    buffer.subarray(10, 20),
    new Uint8Array(),
    buffer.subarray(20, 21),
    buffer.subarray(30, 40),
    other,
    buffer.subarray(40, 50),
  ];
  const merged = mergeNeighbours(chunks);
  assertEquals(merged.map((chunk) => [chunk[0], chunk.length]), [[0, 21], [30, 10], [0, 10], [
    40,
    10,
  ]]);
  assertEquals(totalBytes(merged), totalBytes(chunks));
});

Deno.test("ChunkReader reads on where it stopped, across chunks", () => {
  const chunks = [3, 0, 5, 1].map((length, i) => new Uint8Array(length).fill(i));
  const reader = new ChunkReader(chunks);
  const parts = [2, 0, 4, 3].map((length) => {
    const into = new Uint8Array(length);
    reader.read(into);
    return [...into];
  });
  assertEquals(parts, [[0, 0], [], [0, 2, 2, 2], [2, 2, 3]]);
});
