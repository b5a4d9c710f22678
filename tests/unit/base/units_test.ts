import { assertEquals, assertThrows } from "../../support/assert.ts";
import { alignDown, alignUp, formatSize, GiB, MiB, parseSize } from "../../../src/base/units.ts";

Deno.test("parseSize() reads every spelling of a binary size", () => {
  const rows: [string, number][] = [
    ["0", 0],
    ["4096", 4096],
    ["512B", 512],
    ["8MiB", 8 * MiB],
    ["8m", 8 * MiB],
    ["8MB", 8 * MiB],
    ["1.5GiB", 1.5 * GiB],
    ["64 TiB", 65536 * GiB],
  ];
  for (const [text, bytes] of rows) assertEquals(parseSize(text, "--x"), bytes, text);
});

Deno.test("parseSize() refuses what is not a size", () => {
  for (const text of ["", "x", "-1", "1.5", "1e3", "8MiBs", "99999999T", "0x10", "1 2"]) {
    assertThrows(() => parseSize(text, "--pool-size"), Error, "--pool-size", text);
  }
});

Deno.test("formatSize() picks the greatest unit that fits", () => {
  assertEquals([0, 1023, 1024, 1.5 * GiB].map(formatSize), ["0B", "1023B", "1KiB", "1.5GiB"]);
});

Deno.test("alignUp() and alignDown() accept any positive alignment", () => {
  assertEquals([alignDown(100, 24), alignUp(100, 24), alignUp(96, 24)], [96, 120, 96]);
});
