// docs/format.md against the code: each record's table is the declared record, row by row.

import type { StructRow } from "../../src/base/struct.ts";
import { NodeHeader } from "../../src/format/bmap.ts";
import { InodeRecord } from "../../src/format/inode.ts";
import { SegmentEntry, SegmentHeader } from "../../src/format/segment.ts";
import { assert, assertEquals } from "../support/assert.ts";

const TEXT = await Deno.readTextFile(new URL("../../docs/format.md", import.meta.url));

/** Rows of the first table with offsets below a heading. */
function tableBelow(heading: string): { offset: number; size: number; field: string }[] {
  const start = TEXT.search(new RegExp(`^#+ ${heading}$`, "m"));
  assert(start >= 0, `there is a heading "${heading}"`);
  const rows: { offset: number; size: number; field: string }[] = [];
  for (const line of TEXT.slice(start).split("\n").slice(1)) {
    if (line.startsWith("#")) break;
    const row = /^\| (\d+) \| (\d+) \| (\w+) \|/.exec(line);
    if (row) rows.push({ offset: Number(row[1]), size: Number(row[2]), field: row[3] });
  }
  return rows;
}

const RECORDS: readonly (readonly [string, { rows: readonly StructRow[] }])[] = [
  ["Inode", InodeRecord],
  ["Segment header", SegmentHeader],
  ["Segment entry", SegmentEntry],
  ["Node header", NodeHeader],
];

for (const [heading, record] of RECORDS) {
  Deno.test(`docs/format.md shows the record "${heading}" as declared`, () => {
    const rows = record.rows.map(({ offset, size, field }) => ({ offset, size, field }));
    assertEquals(tableBelow(heading), rows);
  });
}
