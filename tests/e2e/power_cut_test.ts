// The power is cut under a replicated device, at random moments of attach, resync and load, and what
// its drives had not flushed is lost in part. After every cut: nothing that was flushed is missing on
// the primary, the newest checkpoint opens, is a prefix of the history, mounts and passes fsck, and
// the next start makes replica and primary equal without changing the primary.

import { Prng, seedOf } from "../support/prng.ts";
import { type CutDuring, CUTS_MAX, type FileSystem, PowerLife } from "../support/power_life.ts";
import { scaled } from "../support/soak.ts";

const SEED = seedOf("power cuts");
const CUTS = scaled(2, 100);

/** In the first life there is something to lose at once; others may begin with a first copy cut short. */
function cutsOf(random: Prng, count: number, life: number): CutDuring[] {
  const early: readonly CutDuring[] = ["attach", "resync"];
  const cuts = Array.from(
    { length: count },
    (): CutDuring => random.pick([...early, "load"] as const),
  );
  if (life === 0) cuts.unshift("load", random.pick(early));
  return cuts.slice(0, count);
}

for (let done = 0, life = 0; done < CUTS; life++) {
  const count = Math.min(CUTS_MAX, CUTS - done);
  const fs: FileSystem = (SEED + life) % 2 === 0 ? "ext4" : "xfs";
  const random = new Prng(SEED + life);
  Deno.test(`power cuts lose nothing that was flushed: ${fs}, cuts ${done + 1} to ${done + count}`, async () => {
    const cuts = cutsOf(random, count, life);
    const cpus = life % 4 === 3 ? 2 : 1;
    const dwells = (SEED + life) % 3 === 0;
    // deno-lint-ignore no-console -- what was cut when
    await PowerLife.live({ fs, cpus, dwells, random, cuts }, console.log);
  });
  done += count;
}
