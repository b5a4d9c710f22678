// Devices that do not come up, or break while they serve, on a real ublk driver.

import { assertEquals } from "../support/assert.ts";
import { ublkGuest } from "../support/ublk_guest.ts";

Deno.test("starts that fail and devices that break leave nothing behind", async () => {
  const lines = await ublkGuest(
    `deno run -A --quiet "$ROOT/tests/e2e/programs/ublk_faults.ts" || fail faults`,
  );
  assertEquals(lines.filter((line) => !line.startsWith("ok: ")), []);
  assertEquals(lines.length, 9);
});
