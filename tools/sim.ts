// The simulator from the command line:
//   tools/sim.ts --seeds N [--from S]    N worlds on all cores; ends with 1 if a promise was broken
//   tools/sim.ts --seed X                one world, with its trace
// docs/testing.md says what a world is.

import { FAILPOINTS } from "../src/base/failpoints.ts";
import { runSeeds, type ShareResult } from "../tests/sim/run_seeds.ts";
import { runWorld } from "../tests/sim/run_world.ts";

const PROGRESS_MS = 10_000;

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function option(name: string): number | null {
  const at = Deno.args.indexOf(`--${name}`);
  if (at < 0) return null;
  const value = Number(Deno.args[at + 1]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  say(`--${name} takes a number`);
  Deno.exit(2);
}

async function replay(seed: number): Promise<boolean> {
  const { failure, digest, events, checkpoints, crashes } = await runWorld(seed, { print: say });
  say(
    `seed ${seed}: digest ${digest}, ${events} events, ${checkpoints} checkpoints, ` +
      `${crashes} crashes`,
  );
  say(failure === null ? "every promise was kept" : `FAILED: ${failure}`);
  return failure === null;
}

/** From so many worlds on every failpoint is met: 800 do. */
const ALL_FAILPOINTS_SEEDS = 5_000;

async function runMany(first: number, count: number): Promise<boolean> {
  const startedMs = performance.now();
  let saidMs = startedMs;
  let failed = 0;
  const report = (sum: ShareResult) => {
    const seconds = (performance.now() - startedMs) / 1000;
    const rate = (sum.worlds / seconds).toFixed(1);
    say(`${sum.worlds} of ${count} worlds, ${rate} a second, ${sum.failures.length} failed`);
  };
  const sum = await runSeeds({
    first,
    count,
    onProgress: (sum) => {
      for (const { seed, failure } of sum.failures.slice(failed)) {
        say(`seed ${seed} FAILED: ${failure}\n  replay: make sim SEED=${seed}`);
      }
      failed = sum.failures.length;
      if (performance.now() - saidMs < PROGRESS_MS) return;
      saidMs = performance.now();
      report(sum);
    },
  });
  report(sum);
  say(`${sum.events} events, ${sum.crashes} crashes, ${sum.checkpoints} checkpoints judged`);
  say(`${sum.staged} regions were staged after a crash`);
  say(`${sum.lacking} sectors were lacking in a checkpoint because they could not be read`);
  say(`${sum.rivals} times another primary came for the replica`);
  say(
    `${sum.compared} comparisons ended, and found the ${sum.found} blocks that they were to find`,
  );
  const never = FAILPOINTS.filter((name) => sum.diedAt[name] === undefined);
  say(
    `died at ${FAILPOINTS.length - never.length} of ${FAILPOINTS.length} failpoints` +
      (never.length > 0 ? `, not at ${never.join(", ")}` : ""),
  );
  // In so many worlds every one of them kills a daemon: one that does not has lost its place.
  const isCovered = count < ALL_FAILPOINTS_SEEDS || never.length === 0;
  if (!isCovered) say(`FAILED: in ${count} worlds every failpoint has to be met`);
  return sum.failures.length === 0 && isCovered;
}

const seed = option("seed");
const kept = seed !== null
  ? await replay(seed)
  : await runMany(option("from") ?? 1, option("seeds") ?? 1000);
Deno.exit(kept ? 0 : 1);
