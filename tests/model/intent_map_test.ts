// R4 and R5 in thousands of orders: see tests/support/intent_world.ts for what is checked.

import { REGIONS_PER_PAGE } from "../../src/format/region_map.ts";
import { assert } from "../support/assert.ts";
import { IntentWorld } from "../support/intent_world.ts";
import { withPreemption } from "../support/preemption.ts";
import { Prng, seedOf } from "../support/prng.ts";

const REGION_COUNTS = [1, 5, 40, REGIONS_PER_PAGE - 1, REGIONS_PER_PAGE + 20];

async function worlds(
  seed: number,
  { failOneIn = 0, queuesFail = false } = {},
): Promise<number> {
  let errors = 0;
  for (let n = 0; n < 150; n++) {
    const random = new Prng(seed + n);
    const regionCount = random.pick(REGION_COUNTS);
    const waitsForRoom = random.oneIn(2);
    const world = new IntentWorld({ random, regionCount, failOneIn, queuesFail, waitsForRoom });
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
  const errors = await worlds(seedOf("intent_map"));
  assert(errors === 0, "no request failed");
});

Deno.test("The dirty map stays right through writes of cleared pages that fail", async () => {
  const errors = await worlds(seedOf("intent_map with cleaner's errors"), { failOneIn: 4 });
  assert(errors === 0, "no request failed");
});

Deno.test("The dirty map stays right through page writes that fail", async () => {
  const how = { failOneIn: 4, queuesFail: true };
  const errors = await worlds(seedOf("intent_map with errors"), how);
  assert(errors > 10, "requests did fail");
});
