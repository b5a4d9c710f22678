import { assertEquals, assertRejects } from "../../support/assert.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { within } from "../../../src/base/within.ts";

Deno.test("within() gives what comes in time, also a failure, and leaves no timer", async () => {
  assertEquals(await within(Promise.resolve(7), 60_000), 7);
  await assertRejects(() => within(Promise.reject(new Error("broken")), 60_000), Error, "broken");
});

Deno.test("within() is late after its time, or once it is aborted", async () => {
  const clock = new FakeClock();
  assertEquals(await within(new Promise(() => {}), 1000, { clock }), "late");
  const aborted = { signal: AbortSignal.abort() };
  assertEquals(await within(new Promise(() => {}), 60_000, aborted), "late");
});

Deno.test("within() swallows what fails after its time", async () => {
  const slow = Promise.withResolvers<void>();
  assertEquals(await within(slow.promise, 0), "late");
  slow.reject(new Error("nobody hears this"));
});
