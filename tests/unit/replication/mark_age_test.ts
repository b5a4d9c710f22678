import { assertEquals } from "../../support/assert.ts";
import { MarkAge } from "../../../src/replication/mark_age.ts";

Deno.test("MarkAge doubles while a quarter of the marks come back, and halves when hardly any does", () => {
  const age = new MarkAge(3000);
  const after = (gone: number, returned: number, elapsedMs = age.ms): number => {
    age.judge({ gone, returned, elapsedMs });
    return age.ms;
  };
  assertEquals(after(1000, 249), 3000);
  assertEquals(after(1000, 250), 6000);
  assertEquals(after(1000, 500), 12_000);
  assertEquals(after(1000, 63), 12_000, "between the two it stays");
  assertEquals(after(1000, 62), 6000);
  assertEquals(after(0, 0), 6000, "nothing went, so nothing is known");
  assertEquals(after(1000, 0), 3000);
  assertEquals(after(1000, 0), 3000, "the shortest");
});

Deno.test("MarkAge is not moved by a few marks, nor by what comes back too late to have been kept", () => {
  const age = new MarkAge(3000);
  age.judge({ gone: 64, returned: 63, elapsedMs: 3000 });
  assertEquals(age.ms, 3000);
  age.judge({ gone: 1000, returned: 1000, elapsedMs: 8001 });
  assertEquals(age.ms, 3000);
  age.judge({ gone: 1000, returned: 1000, elapsedMs: 8000 });
  assertEquals(age.ms, 6000);
  age.judge({ gone: 1000, returned: 1000, elapsedMs: 60_000 });
  assertEquals(age.ms, 3000, "late ones are as good as none");
});

Deno.test("MarkAge has an end", () => {
  const age = new MarkAge(3000);
  for (let n = 0; n < 20; n++) age.judge({ gone: 1000, returned: 1000, elapsedMs: 0 });
  assertEquals(age.ms, 64 * 3000);
});
