// R4 and R5 in thousands of orders: see tests/support/intent_world.ts for what is checked.

import { REGIONS_PER_PAGE } from "../../src/format/region_map.ts";
import { assert } from "../support/assert.ts";
import { IntentWorld } from "../support/intent_world.ts";
import { withPreemption } from "../support/preemption.ts";
import { Prng, seedOf } from "../support/prng.ts";

const REGION_COUNTS = [1, 5, 40, REGIONS_PER_PAGE - 1, REGIONS_PER_PAGE + 20];

async function worlds(seed: number, count: number, failOneIn: number): Promise<number> {
  let errors = 0;
  for (let n = 0; n < count; n++) {
    const random = new Prng(seed + n);
    const regionCount = random.pick(REGION_COUNTS);
    const waitsForRoom = random.oneIn(2);
    const world = new IntentWorld({ random, regionCount, failOneIn, waitsForRoom });
    try {
      await withPreemption(() => world.preempt(), () => world.run(400));
    } catch (cause) {
      throw new Error(`SEED=${seed + n}`, { cause });
    }
    errors += world.errors;
  }
  return errors;
}

Deno.test("The dirty map names every region that may differ, and is empty in the end", async () => {
  const errors = await worlds(seedOf("intent_map"), 150, 0);
  assert(errors === 0, "no request failed");
});

Deno.test("The dirty map stays right through page writes that fail", async () => {
  const errors = await worlds(seedOf("intent_map with errors"), 150, 4);
  assert(errors > 10, "requests did fail");
});
