// Random writes over many regions: once the cleaner has learned how soon they are written again, hardly
// any of them waits for the map; when they end, every mark goes.

import { assert, assertEquals } from "../../support/assert.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import { PLACE, twoGates } from "../../support/two_gates.ts";
import { IntentCleaner } from "../../../src/replicator/intent_cleaner.ts";

const GENERATION_MS = 1000;
const STEP_MS = 250;
const REGIONS = 2048;
/** Writes in a step: each region's turn comes every 20 steps, five generations, on average. */
const WRITES = REGIONS / 20;

function newWorld() {
  const { gates: [gate], map, views, pool, change } = twoGates();
  const clock = new FakeClock();
  const random = new Prng(seedOf("random first touches"));
  const cleaner = new IntentCleaner({
    views,
    disk: { write: () => Promise.resolve(), flush: () => Promise.resolve() },
    place: PLACE,
    staged: null,
    unsettled: () => [],
    clock,
    wakeQueues() {},
    onTrouble({ message }) {
      throw new Error(message);
    },
    generationMs: GENERATION_MS,
  });
  let position = 0;
  /** One write, captured and published at once; gives whether it waited for the map. */
  function write(): boolean {
    const region = random.below(REGIONS);
    const waits = !map.isDurable(region);
    change(0, region);
    gate.leave(0);
    pool.clear(position);
    position = pool.advance(position, 1);
    pool.release(position);
    return waits;
  }
  /** The share of writes that waited, over so many steps. */
  async function share(steps: number, writes: number): Promise<number> {
    let waited = 0;
    for (let step = 0; step < steps; step++) {
      for (let n = 0; n < writes; n++) waited += write() ? 1 : 0;
      clock.advance(STEP_MS);
      const committedPosition = pool.tail();
      await cleaner.step({
        committedPosition,
        wholeCopy: 0,
        chain: null,
        isDamaged: false,
        isRecorded: true,
      });
    }
    return waited / (steps * writes);
  }
  return { map, share };
}

Deno.test("IntentCleaner keeps the marks of random writes for longer, until hardly any write waits", async () => {
  const { map, share } = newWorld();
  const early = await share(40, WRITES);
  assert(early > 0.2, `at first ${early} of the writes wait`);
  await share(2000, WRITES);
  const learned = await share(400, WRITES);
  assert(learned < 0.02, `${learned} of the writes wait`);
  await share(1000, 0);
  assertEquals(map.dirtyCount(), 0);
});
