// Plain tables: columns two spaces apart, no lines, readable by people and by awk.

import Table from "cli-table3";

const NO_LINES = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

/** Rows of text below a head (or none), as lines that end with a newline. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  options: { right?: readonly number[] } = {},
): string {
  const columns = Math.max(head.length, ...rows.map((row) => row.length));
  const table = new Table({
    head: [...head],
    chars: NO_LINES,
    colAligns: Array.from(
      { length: columns },
      (_, i) => options.right?.includes(i) ? "right" : "left",
    ),
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  for (const row of rows) table.push([...row]);
  return table.toString().split("\n").map((line) => line.trimEnd() + "\n").join("");
}
