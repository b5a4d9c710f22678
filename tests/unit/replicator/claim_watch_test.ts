import { ReplicaError } from "../../../src/base/errors.ts";
import { ClaimWatch } from "../../../src/replicator/claim_watch.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const EVERY_MS = 30_000;

/** A watch whose looks are answered by the test. */
function newWatch() {
  const clock = new FakeClock();
  const looks: { resolve(): void; reject(error: Error): void; signal: AbortSignal }[] = [];
  const troubles: string[] = [];
  let rings = 0;
  const watch = new ClaimWatch(
    {
      everyMs: EVERY_MS,
      requireHeld({ signal }) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        signal.addEventListener("abort", () => reject(new ReplicaError("closed", "stopped")));
        looks.push({ resolve, reject, signal });
        return promise;
      },
      onTrouble: ({ message }) => troubles.push(message),
    },
    clock,
    () => rings++,
  );
  return { watch, clock, looks, troubles, rings: () => rings };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("ClaimWatch looks once so often, and one look at a time", async () => {
  const { watch, clock, looks } = newWatch();
  clock.advance(EVERY_MS - 1);
  watch.pump();
  assertEquals(looks.length, 0);
  clock.advance(1);
  watch.pump();
  clock.advance(10 * EVERY_MS);
  watch.pump();
  assertEquals(looks.length, 1, "the first one has no answer yet");
  looks[0].resolve();
  await turn();
  watch.pump();
  assertEquals(looks.length, 1, "the claim has just been proved");
  clock.advance(EVERY_MS);
  watch.pump();
  assertEquals(looks.length, 2);
  await watch.stop();
});

Deno.test("ClaimWatch does not look while commits prove the claim", () => {
  const { watch, clock, looks } = newWatch();
  for (let i = 0; i < 10; i++) {
    clock.advance(EVERY_MS - 1);
    watch.pump();
    watch.proven();
  }
  assertEquals(looks.length, 0);
});

Deno.test("ClaimWatch rings when another writer has the replica, and looks no more", async () => {
  const { watch, clock, looks, troubles, rings } = newWatch();
  clock.advance(EVERY_MS);
  assertEquals(watch.pump(), null);
  const fenced = new ReplicaError("fenced", "another writer took it over");
  looks[0].reject(fenced);
  await turn();
  assertEquals([rings(), troubles], [1, []]);
  clock.advance(EVERY_MS);
  assert(watch.pump() === fenced, "the replicator gets to know by whom");
  assertEquals(looks.length, 1);
});

Deno.test("ClaimWatch goes on when a look proves nothing", async () => {
  const { watch, clock, looks, troubles, rings } = newWatch();
  for (const kind of ["unavailable", "data"] as const) {
    clock.advance(EVERY_MS);
    assertEquals(watch.pump(), null);
    looks.at(-1)?.reject(new ReplicaError(kind, kind));
    await turn();
    assertEquals(watch.pump(), null, "not at once again");
  }
  assertEquals([looks.length, troubles, rings()], [2, ["unavailable", "data"], 0]);
});

Deno.test("ClaimWatch.stop() ends the look under way, without a word", async () => {
  const { watch, clock, looks, troubles } = newWatch();
  clock.advance(EVERY_MS);
  watch.pump();
  await watch.stop();
  assertEquals([looks[0].signal.aborted, troubles], [true, []]);
  clock.advance(EVERY_MS);
  watch.pump();
  assertEquals(looks.length, 1);
});
