import { MiB } from "../../../src/base/units.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../../src/shared/counters.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../../src/shared/layout.ts";
import { STALL_MS, untilStalled } from "../../../src/target/stall.ts";
import { assert } from "../../support/assert.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** How long a stop is patient; `each` is called before each look at the counters. */
async function patienceMs(
  each: (count: (name: keyof typeof REPLICATOR_COUNTER) => void, nowMs: number) => void,
): Promise<number> {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 4096,
    unitBytes: 4096,
    poolBytes: MiB,
    regionBytes: MiB,
    deviceSizeBytes: MiB,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const clock = new FakeClock();
  const sleep = clock.sleep.bind(clock);
  clock.sleep = async (ms, signal) => {
    each(
      (name) => views.counters[replicatorCounters(views) + REPLICATOR_COUNTER[name]]++,
      clock.nowMs(),
    );
    clock.advance(5_000);
    await sleep(ms, signal);
  };
  assert(await untilStalled(views, clock, new AbortController().signal));
  return clock.nowMs();
}

Deno.test("untilStalled() gives up on a replica that fails and takes nothing for a minute", async () => {
  const ms = await patienceMs((count) => count("storeRetries"));
  assert(ms > STALL_MS && ms < 2 * STALL_MS, `${ms} ms`);
});

Deno.test("untilStalled() waits for a commit that takes long, as nothing fails, but not for ever", async () => {
  const ms = await patienceMs(() => {});
  assert(ms > 9 * STALL_MS && ms < 12 * STALL_MS, `${ms} ms`);
});

Deno.test("untilStalled() begins anew with everything that the replica takes", async () => {
  const ms = await patienceMs((count, nowMs) => {
    count("commitErrors");
    if (nowMs < 10 * STALL_MS && nowMs % 50_000 < 10_000) count("drainedBytes");
  });
  assert(ms > 10 * STALL_MS && ms < 13 * STALL_MS, `${ms} ms`);
});
