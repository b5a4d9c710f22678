// Is the oracle awake? Every classic bug has to be found within a bounded number of worlds: the same
// ones in every run.

import { assert } from "../support/assert.ts";
import { Arena } from "./daemon.ts";
import { PLANTED_BUGS } from "./planted_bugs.ts";
import { runWorld } from "./run_world.ts";

const WORLDS_MAX = 600;

for (const [name, plant] of Object.entries(PLANTED_BUGS)) {
  Deno.test(`The oracle finds a planted bug: ${name}`, async () => {
    const arena = new Arena();
    for (let seed = 1; seed <= WORLDS_MAX; seed++) {
      const { failure } = await runWorld(seed, { arena, bugs: plant() });
      if (failure !== null) return;
    }
    assert(false, `${WORLDS_MAX} worlds did not show it`);
  });
}
