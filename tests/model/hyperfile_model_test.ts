// Random histories of a Hyperfile against a shadow in memory: new files and trees as other writers
// might leave them, continued by ours. The seed is printed; SEED=… replays one history (and only it),
// HISTORIES=… runs more of them.

import { randomFile, runHistory } from "../support/hyperfile_model.ts";
import { Prng, seedOf } from "../support/prng.ts";

Deno.test("Hyperfile holds what random histories of commits wrote", async () => {
  const seed = seedOf("hyperfile model");
  const histories = Deno.env.has("SEED") ? 1 : Number(Deno.env.get("HISTORIES") ?? 60);
  for (let i = 0; i < histories; i++) {
    const random = new Prng((seed + i) >>> 0);
    try {
      await runHistory(await randomFile(random), 5 + random.below(40));
    } catch (cause) {
      throw new Error(`history failed: replay with SEED=${(seed + i) >>> 0}`, { cause });
    }
  }
});
