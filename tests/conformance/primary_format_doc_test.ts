// docs/primary-format.md shows the records as the code declares them: field for field.

import { assert, assertEquals } from "../support/assert.ts";
import type { StructRow } from "../../src/base/struct.ts";
import { FLUSH_RECORD_KIND, FlushRecordLayout } from "../../src/format/flush_log.ts";
import { REGION_MAP_KIND, REGION_MAPS, RegionMapPage } from "../../src/format/region_map.ts";
import { PageHead } from "../../src/format/sealed_page.ts";
import { PRIMARY_STATES, SUPERBLOCK_KIND, SuperblockRecord } from "../../src/format/superblock.ts";

const DOC = new URL("../../docs/primary-format.md", import.meta.url);

/** The text below a heading, up to the next one. */
async function section(heading: string): Promise<string> {
  const text = await Deno.readTextFile(DOC);
  const found = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert(found !== undefined, `the document has a section "${heading}"`);
  return found;
}

function rowsOf(text: string): StructRow[] {
  return [...text.matchAll(/^\| (\d+) \| (\d+) \| `(\w+)` \| (\S+) \|/gm)]
    .map(([, offset, size, field, type]) => ({
      field,
      type,
      offset: Number(offset),
      size: Number(size),
    }));
}

Deno.test("docs/primary-format.md shows every field of every record", async () => {
  const records = [
    ["The first fields of every page", PageHead],
    ["Superblock", SuperblockRecord],
    ["Flush log", FlushRecordLayout],
    ["Region maps", RegionMapPage],
  ] as const;
  for (const [heading, record] of records) {
    assertEquals(rowsOf(await section(heading)), [...record.rows], heading);
  }
});

Deno.test("docs/primary-format.md names magics, states and maps as the code does", async () => {
  const states = [...(await section("Superblock")).matchAll(/^\| (\d) \| `(\w+)` \|/gm)]
    .map(([, code, name]) => [name, Number(code)]);
  assertEquals(Object.fromEntries(states), { ...PRIMARY_STATES });
  const kinds = [
    ["Superblock", SUPERBLOCK_KIND],
    ["Flush log", FLUSH_RECORD_KIND],
    ["Region maps", REGION_MAP_KIND],
  ] as const;
  for (const [heading, { magic, version }] of kinds) {
    const text = await section(heading);
    assert(text.includes(`u8[8] | \`${magic}\` |`), heading);
    assert(text.includes(`\`version\` | u32 | ${version} |`), heading);
  }
  const maps = Object.entries(REGION_MAPS).map(([name, code]) => `${code} ${name}`).join(", ");
  assert((await section("Region maps")).includes(maps));
});
