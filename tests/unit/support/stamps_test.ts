// The checker of write histories must itself be able to fail.

import fc from "fast-check";
import { assert, assertEquals, assertThrows } from "../../support/assert.ts";
import { BLOCK, KIND_WRITE, KIND_ZERO, stamp, StampChecker } from "../../support/stamps.ts";

const SHAPE = { threads: 2, blocks: 128 };

/** Thread 0: write 1 to block 0, write 2 to blocks 0 and 1, write 3 zeroes block 0. Thread 1: one. */
function checker(): StampChecker {
  const first = [0, 1, KIND_WRITE, 0, 0, 0, 2, KIND_WRITE, 1, 0, 0, 1, KIND_ZERO, 2, 0];
  const second = [64, 1, KIND_WRITE, 2, 0];
  return new StampChecker(SHAPE, [new Int32Array(first), new Int32Array(second)]);
}

function image(blocks: readonly [block: number, thread: number, number: number][]): Uint8Array {
  const bytes = new Uint8Array(SHAPE.blocks * BLOCK);
  for (const [block, thread, number] of blocks) {
    stamp(bytes.subarray(block * BLOCK, (block + 1) * BLOCK), thread, number);
  }
  return bytes;
}

Deno.test("StampChecker accepts every prefix, in order", () => {
  const check = checker();
  assertEquals(check.check(image([])), 0);
  assertEquals(check.check(image([[0, 0, 1]])), 1);
  assertEquals(check.check(image([[0, 0, 2], [1, 0, 2]])), 2);
  assertEquals(check.check(image([[0, 0, 2], [1, 0, 2], [64, 1, 1]])), 3);
  assertEquals(check.check(image([[1, 0, 2], [64, 1, 1]])), 4);
});

interface BlockWrite {
  readonly first: number;
  readonly count: number;
  readonly kind: number;
}

/** Four blocks: zeroings often wipe out what was written just before them. */
const fewBlocks = fc.array(
  fc.record({
    first: fc.nat(2),
    count: fc.integer({ min: 1, max: 2 }),
    kind: fc.constantFrom(KIND_WRITE, KIND_ZERO),
  }),
  { maxLength: 30 },
);

/** What blocks 0 to 3 show before the first write, and after each. */
function statesOf(writes: readonly BlockWrite[]): number[][] {
  const states = [[0, 0, 0, 0]];
  for (const [i, { first, count, kind }] of writes.entries()) {
    states.push(states[i].slice().fill(kind === KIND_ZERO ? 0 : i + 1, first, first + count));
  }
  return states;
}

function holdsOf(writes: readonly BlockWrite[], state: readonly number[]) {
  const log = writes.flatMap(({ first, count, kind }) => [first, count, kind, 0, 0]);
  const shown = state.map((number, block) => [block, 0, number] as [number, number, number]);
  return new StampChecker(SHAPE, [new Int32Array(log), new Int32Array()])
    .holds(image(shown.filter(([, , number]) => number > 0)))[0];
}

Deno.test("StampChecker accepts any prefix of any history", () => {
  fc.assert(fc.property(fewBlocks, (writes) => {
    for (const [n, state] of statesOf(writes).entries()) {
      const { least, greatest } = holdsOf(writes, state);
      assert(least <= n && n <= greatest, `${n} writes: ${least} to ${greatest}`);
    }
  }));
});

Deno.test("StampChecker refuses a history with one block taken back", () => {
  fc.assert(fc.property(fewBlocks, fc.nat(3), (writes, block) => {
    const states = statesOf(writes);
    const wrong = states[writes.length].with(block, 0);
    if (states.some((state) => state.every((number, k) => number === wrong[k]))) return;
    assertThrows(() => holdsOf(writes, wrong), Error, "no prefix");
  }));
});

Deno.test("StampChecker refuses what is no prefix", () => {
  const rows: [string, [number, number, number][], string][] = [
    ["half of a write", [[0, 0, 2]], "no prefix"],
    ["a later write without an acknowledged one", [[0, 0, 1], [64, 1, 1]], "only 1"],
    ["a write that never was", [[0, 0, 9]], "never made"],
    ["another thread's stamp", [[0, 1, 1]], "torn or foreign"],
    ["an older write over a newer one", [[0, 0, 1], [1, 0, 2]], "no prefix"],
  ];
  for (const [name, blocks, message] of rows) {
    assertThrows(() => checker().check(image(blocks)), Error, message, name);
  }
});

Deno.test("StampChecker refuses a torn block", () => {
  const bytes = image([[0, 0, 1]]);
  bytes.fill(0, 3584, 4096);
  assertThrows(() => checker().check(bytes), Error, "torn");
});

Deno.test("StampChecker.checkDurable() wants what was synced, and takes any of what was not", () => {
  const half = image([[0, 0, 2], [1, 0, 2]]);
  half.fill(0, 0, 512);
  const durable: [string, Uint8Array, number][] = [
    ["only what was synced", image([[0, 0, 1]]), 1],
    ["half of the next", image([[0, 0, 1], [1, 0, 2]]), 1],
    ["the last without the one before", image([]), 1],
    ["a torn one", half, 1],
  ];
  for (const [, bytes, synced] of durable) checker().checkDurable(bytes, [synced, 0]);
  const lost: [string, Uint8Array, number, string][] = [
    ["one that was synced", image([]), 2, "was synced"],
    ["an older one", image([[0, 0, 1], [1, 0, 2]]), 2, "shows write 1"],
    ["another thread's", image([[0, 1, 1]]), 0, "foreign"],
    ["one that never was", image([[1, 0, 3]]), 0, "shows write 3"],
  ];
  for (const [name, bytes, synced, message] of lost) {
    assertThrows(() => checker().checkDurable(bytes, [synced, 0]), Error, message, name);
  }
});
