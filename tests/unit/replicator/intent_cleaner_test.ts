import { assertEquals } from "../../support/assert.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { PLACE, twoGates } from "../../support/two_gates.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { REGIONS_PER_PAGE } from "../../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { IntentCleaner } from "../../../src/replicator/intent_cleaner.ts";
import { noteFailedFlush } from "../../../src/shared/failed_flush.ts";
import type { BlockRun } from "../../../src/replicator/zero_runs.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";

const GENERATION_MS = 1000;

/** A cleaner on a disk that writes down what it is asked for, and may fail. */
function newCleaner() {
  const { gates: [gate], map, views, pool, change } = twoGates();
  const calls: string[] = [];
  const troubles: string[] = [];
  const unsettled: BlockRun[] = [];
  const clock = new FakeClock();
  const disk = { failing: "" };
  function call(what: string): Promise<void> {
    calls.push(what);
    if (!what.startsWith(disk.failing) || disk.failing === "") return Promise.resolve();
    return Promise.reject(new ReplicaError("kernel", `Cannot ${what}`));
  }
  const cleaner = new IntentCleaner({
    views,
    disk: {
      write: (offset) => call(`write ${(offset - PLACE.offsetBytes) / PAGE_BYTES}`),
      flush: () => call("flush"),
    },
    place: PLACE,
    staged: null,
    unsettled: () => unsettled,
    clock,
    wakeQueues: () => calls.push("wake"),
    onTrouble: ({ message }) => troubles.push(message),
    generationMs: GENERATION_MS,
  });
  /** Lets `count` steps pass, each a generation later. */
  async function steps(count: number, { isRecorded = true } = {}): Promise<string[]> {
    for (let n = 0; n < count; n++) {
      clock.advance(GENERATION_MS);
      const committedPosition = pool.tail();
      await cleaner.step({
        committedPosition,
        wholeCopy: 0,
        chain: null,
        isDamaged: false,
        isRecorded,
      });
    }
    return calls.splice(0);
  }
  return { cleaner, gate, map, views, pool, disk, steps, change, unsettled, troubles };
}

Deno.test("IntentCleaner clears what a published checkpoint covers, after a flush of the primary", async () => {
  const { gate, map, pool, steps, change } = newCleaner();
  change(0, 5);
  change(1, REGIONS_PER_PAGE + 1);
  assertEquals(await steps(5), [], "changes are in flight");
  gate.leave(0);
  gate.leave(1);
  assertEquals([await steps(4), map.dirtyCount()], [[], 2], "nothing is published");
  pool.release(1);
  assertEquals([await steps(4), map.dirtyCount()], [[], 2], "not all is published");
  pool.release(2);
  assertEquals([await steps(4, { isRecorded: false }), map.dirtyCount()], [[], 2], "not recorded");
  assertEquals(await steps(2), ["flush", "write 0", "write 1", "flush"]);
  assertEquals([map.dirtyCount(), await steps(4)], [0, []]);
});

Deno.test("IntentCleaner keeps a region that is written again, and waits for resync", async () => {
  const { gate, map, pool, views, steps, change } = newCleaner();
  change(0, 5);
  gate.leave(0);
  await steps(1);
  change(0, 5);
  gate.leave(0);
  pool.release(2);
  assertEquals([await steps(2), map.dirtyCount()], [[], 1], "touched in this generation");
  const stale = new StaleMap(views);
  stale.mark(5, 1);
  assertEquals([await steps(5), map.dirtyCount()], [[], 1], "something is stale");
  stale.take(0, 1);
  stale.settle(1);
  await steps(3);
  assertEquals(map.dirtyCount(), 0);
});

Deno.test("IntentCleaner writes a page again that the primary refused", async () => {
  const { gate, map, pool, disk, steps, change, troubles } = newCleaner();
  change(0, 5);
  gate.leave(0);
  pool.release(1);
  disk.failing = "write";
  await steps(4);
  assertEquals([map.dirtyCount(), troubles], [0, ["Cannot write 0"]]);
  disk.failing = "";
  assertEquals(await steps(4), ["flush", "write 0", "flush"], "in the same place");
  assertEquals(await steps(4), []);
});

Deno.test("IntentCleaner clears nothing any more after a flush that failed", async () => {
  const { gate, map, pool, disk, steps, change, troubles } = newCleaner();
  change(0, 5);
  gate.leave(0);
  pool.release(1);
  disk.failing = "flush";
  assertEquals([await steps(4), map.dirtyCount()], [["flush"], 1]);
  disk.failing = "";
  assertEquals([await steps(5), map.dirtyCount(), troubles], [[], 1, ["Cannot flush"]]);
});

Deno.test("IntentCleaner clears nothing any more after a flush that failed elsewhere", async () => {
  const { gate, map, views, pool, steps, change, troubles } = newCleaner();
  change(0, 5);
  gate.leave(0);
  pool.release(1);
  // A guest's, say: the cleaner's own flushes succeed afterwards, as if nothing were lost.
  noteFailedFlush(views.words);
  assertEquals([await steps(4), map.dirtyCount()], [["flush"], 1]);
  assertEquals([await steps(5), map.dirtyCount(), troubles.length], [[], 1, 1]);
});

Deno.test("IntentCleaner leaves a region with a block that can't be read for as long as it is so", async () => {
  const { gate, map, pool, unsettled, steps, change } = newCleaner();
  change(0, 5);
  change(1, 6);
  for (const tag of [0, 1]) gate.leave(tag);
  pool.release(2);
  unsettled.push({ first: 5, count: 1 });
  assertEquals(await steps(4), ["flush", "write 2", "flush"]);
  assertEquals([map.dirtyCount(), map.isDurable(5)], [1, true]);
  assertEquals(await steps(6), [], "with nothing to clear the primary is left alone");
  unsettled.pop();
  assertEquals(await steps(4), ["flush", "write 0", "flush"]);
  assertEquals(map.dirtyCount(), 0);
});
