// The simulator's short run: fresh seeds every time, printed, and the proof that a seed is a world.
// make sim SEEDS=n runs more of them, make sim SEED=x replays one.

import { assert, assertEquals } from "../support/assert.ts";
import { seedOf } from "../support/prng.ts";
import { scaled } from "../support/soak.ts";
import { Arena } from "./daemon.ts";
import { runSeeds } from "./run_seeds.ts";
import { runWorld } from "./run_world.ts";

Deno.test("The same seed gives the same world, event by event", async () => {
  const first = seedOf("sim determinism");
  const arena = new Arena();
  const digests = new Set<string>();
  for (let seed = first; seed < first + 8; seed++) {
    const once = await runWorld(seed);
    const again = await runWorld(seed, { arena });
    assertEquals(again, once);
    digests.add(once.digest);
  }
  assert(digests.size === 8, "other seeds give other worlds");
});

Deno.test("Every promise is kept in every world", async () => {
  const first = seedOf("sim");
  const count = scaled(300, 10_000);
  const { failures, worlds, crashes, checkpoints } = await runSeeds({ first, count });
  assertEquals(failures, [], "replay one with make sim SEED=…");
  assertEquals(worlds, count);
  assert(crashes > count / 2, `${crashes} crashes are too few to show anything`);
  assert(checkpoints > count, `${checkpoints} checkpoints are too few to show anything`);
});
