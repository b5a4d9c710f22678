import { assertEquals, assertRejects } from "../../support/assert.ts";
import { reportRegularly } from "../../../src/control/regular_progress.ts";

Deno.test("reportRegularly() reports at once and until the end, while nothing else happens", async () => {
  let reports = 0;
  const enough = Promise.withResolvers<string>();
  const result = await reportRegularly(
    () => {
      reports++;
      if (reports === 4) enough.resolve("done");
    },
    () => enough.promise,
    1,
  );
  assertEquals([result, reports], ["done", 4]);
});

Deno.test("reportRegularly() ends its timer when the body fails", async () => {
  const failing = () => reportRegularly(() => {}, () => Promise.reject(new Error("broken")), 1);
  await assertRejects(failing, Error, "broken");
});
