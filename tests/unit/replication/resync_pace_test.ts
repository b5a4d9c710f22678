import { assertEquals } from "../../support/assert.ts";
import { ResyncPace } from "../../../src/replication/resync_pace.ts";

Deno.test("ResyncPace keeps to its limit", () => {
  const pace = new ResyncPace(1000);
  assertEquals(pace.delayMs(0), 0);
  pace.began(0, 500);
  assertEquals(pace.delayMs(100), 400);
  pace.began(100, 500);
  assertEquals(pace.delayMs(100), 900);
  assertEquals(pace.delayMs(5000), 0);
  pace.began(5000, 100);
  assertEquals(pace.delayMs(5000), 100, "what was not used is not saved up");
});

Deno.test("ResyncPace gives half of the time to a guest who works", () => {
  const pace = new ResyncPace(null);
  pace.began(0, 1 << 30);
  assertEquals(pace.delayMs(0), 0);
  pace.ended(50, 50, true);
  assertEquals([pace.delayMs(60), pace.delayMs(100)], [40, 0]);
  pace.ended(200, 50, false);
  assertEquals(pace.delayMs(200), 0);
});
