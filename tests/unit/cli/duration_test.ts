import { formatDuration } from "../../../src/cli/duration.ts";
import { assertEquals } from "../../support/assert.ts";

Deno.test("formatDuration() uses two units at most", () => {
  const rows: [number, string][] = [
    [0, "0ms"],
    [850, "850ms"],
    [12_340, "12.3s"],
    [245_000, "4m 5s"],
    [7_980_000, "2h 13m"],
    [273_600_000, "3d 4h"],
    [-1, "0ms"],
  ];
  for (const [ms, text] of rows) assertEquals(formatDuration(ms), text);
});
