import { assertEquals } from "../../support/assert.ts";
import { atEveryOperation } from "../../support/preemption.ts";
import { twoGates } from "../../support/two_gates.ts";
import { REGIONS_PER_PAGE } from "../../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { IntentGate } from "../../../src/queue/intent_gate.ts";
import { Doorbells } from "../../../src/shared/doorbells.ts";
import { hasFlushFailed, takeUntoldFlush } from "../../../src/shared/failed_flush.ts";
import { INTENT_PAGE_WORDS, WORD } from "../../../src/shared/layout.ts";

const EIO = 5;

/** Retries as the handler does; the tags that go on, with an error where there is one. */
function retried(gate: IntentGate): string[] {
  const tags: string[] = [];
  for (let left = gate.waiting; left > 0; left--) {
    const tag = gate.retryFront();
    if (tag >= 0) tags.push(gate.verdict === 0 ? `${tag}` : `${tag}: ${gate.verdict}`);
  }
  return tags;
}

/** Every region of both pages. */
const ALL = new Int32Array(2 * INTENT_PAGE_WORDS).fill(-1);

Deno.test("tags that wait for one page share one write", () => {
  const { gates: [gate], seen } = twoGates();
  assertEquals(gate.pass(0, 5, 5), false);
  assertEquals(seen(), [["q0 tag 0 page 0 at 2"], []], "the first one writes the second copy");
  assertEquals([gate.pass(1, 6, 6), gate.pass(2, 5, 6), gate.pass(3, 900, 940)], [
    false,
    false,
    false,
  ]);
  assertEquals(seen(), [[], []], "the others wait");
  gate.written(0, PAGE_BYTES);
  assertEquals(retried(gate), ["0"], "what came after the write began is not named yet");
  assertEquals(seen(), [["q0 tag 1 page 0 at 0"], []], "one write for all of them, other copy");
  gate.written(1, PAGE_BYTES);
  // Those that had waited moved to the end meanwhile.
  assertEquals(retried(gate).sort(), ["1", "2", "3"]);
  assertEquals([gate.pass(4, 900, 940), gate.pass(5, 941, 941)], [true, false]);
  assertEquals(gate.waiting, 1);
});

Deno.test("a queue waits for the write of another, and is woken", () => {
  const { gates: [first, second], seen } = twoGates();
  first.pass(0, 7, 7);
  assertEquals(second.pass(0, 7, 7), false);
  assertEquals(seen(), [["q0 tag 0 page 0 at 2"], []]);
  first.written(0, PAGE_BYTES);
  assertEquals(retried(first), ["0"]);
  assertEquals(seen(), [[], [1]]);
  assertEquals(retried(second), ["0"]);
});

Deno.test("a change over two pages waits for both", () => {
  const { gates: [gate], seen } = twoGates();
  assertEquals(gate.pass(0, REGIONS_PER_PAGE - 1, REGIONS_PER_PAGE), false);
  assertEquals(seen()[0], ["q0 tag 0 page 0 at 2"]);
  assertEquals(gate.pass(1, REGIONS_PER_PAGE + 1, REGIONS_PER_PAGE + 1), false);
  assertEquals(seen()[0], ["q0 tag 1 page 1 at 3"]);
  gate.written(0, PAGE_BYTES);
  assertEquals(retried(gate), [], "the other tag's write was under way with its region wanted");
  gate.written(1, PAGE_BYTES);
  assertEquals(retried(gate).sort(), ["0", "1"]);
  assertEquals(seen()[0], []);
});

Deno.test("a page write is repeated once, in its place; then who waits for the page fails", () => {
  const { gates: [gate, other], map, seen, views: { words } } = twoGates();
  gate.pass(0, 1, 1);
  gate.pass(1, 2, 2);
  gate.pass(2, REGIONS_PER_PAGE, REGIONS_PER_PAGE);
  other.pass(0, 3, 3);
  seen();
  assertEquals([hasFlushFailed(words), takeUntoldFlush(words)], [false, false]);
  gate.written(0, -EIO);
  // It was a flush as well: what it lost, the repetition does not bring back.
  assertEquals([hasFlushFailed(words), takeUntoldFlush(words)], [true, true]);
  assertEquals(takeUntoldFlush(words), false, "the guest is told once");
  assertEquals(seen(), [["q0 tag 0 page 0 at 2"], []]);
  gate.written(0, -EIO);
  assertEquals(retried(gate), [`0: ${-EIO}`, `1: ${-EIO}`]);
  assertEquals(seen(), [[], [1]], "the other queue tries for itself");
  assertEquals([map.isDurable(1), gate.waiting, map.inFlight(0)], [false, 1, 0]);
  assertEquals(retried(other), []);
  assertEquals(seen()[0], ["q1 tag 0 page 0 at 2"]);
  other.written(0, -EIO);
  other.written(0, PAGE_BYTES);
  assertEquals(retried(other), ["0"]);
  assertEquals([map.isDurable(1), map.isDurable(3)], [true, true]);
});

Deno.test("changes are counted from the gate to their capture, by the epoch in which they passed", () => {
  const { gates: [gate], map, views } = twoGates();
  gate.pass(0, 1, 1);
  assertEquals(map.inFlight(0), 0, "who waits is not counted");
  gate.written(0, PAGE_BYTES);
  retried(gate);
  assertEquals(map.inFlight(0), 1);
  const parity = map.beginGeneration();
  assertEquals(parity, 0);
  gate.pass(1, 1, 1);
  assertEquals([map.inFlight(0), map.inFlight(1)], [1, 1]);
  gate.leave(0);
  gate.leave(1);
  assertEquals([map.inFlight(0), map.inFlight(1)], [0, 0]);
  assertEquals(views.words[WORD.intentWaiters], 0);
});

Deno.test("changes are counted also where no map is kept: a stop wants to know of those that never ended", () => {
  const { views, map } = twoGates();
  const gate = new IntentGate({
    qid: 0,
    queue: { offsetBytes: new Float64Array(8), writePage: () => {} },
    views,
    doorbells: new Doorbells(views, [0, 1], () => {}),
    dirtyMap: null,
    stage: 6,
  });
  const inFlight = () => map.inFlight(0) + map.inFlight(1);
  assertEquals([gate.pass(0, 3, 3), gate.pass(1, 3, 3), inFlight()], [true, true, 2]);
  gate.leave(1);
  assertEquals(inFlight(), 1);
});

Deno.test("a mark is taken off only where nobody touched the region since the snapshot", () => {
  const { gates: [gate], map } = twoGates();
  gate.pass(0, 1, 3);
  gate.written(0, PAGE_BYTES);
  retried(gate);
  assertEquals([map.clearUntouched(0, ALL), map.dirtyCount()], [0, 3]);
  map.beginGeneration();
  gate.pass(1, 2, 2);
  assertEquals([map.clearUntouched(0, ALL), map.dirtyCount()], [2, 1]);
  assertEquals([1, 2, 3].map((region) => map.isDurable(region)), [false, true, false]);
  assertEquals(gate.pass(2, 1, 1), false);
});

Deno.test("a page that is written while a tag parks wakes its queue, whenever that is", async () => {
  const operations = await atEveryOperation(
    () => {
      const world = twoGates();
      world.gates[0].pass(0, 7, 7);
      world.seen();
      return { ...world, passed: false };
    },
    {
      body: (world) => world.passed = world.gates[1].pass(0, 7, 7),
      meanwhile: ({ gates: [first] }) => first.written(0, PAGE_BYTES),
      check({ seen, passed, gates: [first] }, operation) {
        const [writes, rung] = seen();
        const goesOn = passed || writes.length > 0 || rung.includes(1);
        // Before the last operation the page was written; after it, it is not.
        if (!goesOn) first.written(0, PAGE_BYTES);
        assertEquals(goesOn || seen()[1].includes(1), true, `before operation ${operation}`);
      },
    },
  );
  assertEquals(operations > 5, true);
});
