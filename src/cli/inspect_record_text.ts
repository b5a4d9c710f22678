// How what the inspections of a replica share reads for people: the inode, problems, cut lists.

import { PointerFormat } from "../format/block_ptr.ts";
import type { InodeReport } from "../replica/inspect_record.ts";
import { rowsText, timeText } from "./rows.ts";

/** Fields, decoded, and the root. */
export function inodeText(inode: InodeReport): string {
  const { object, offset, fields, geometry, root, problems } = inode;
  const rows = Object.entries(fields).map(([name, value]): [string, string] => [
    name,
    fieldText(name, value),
  ]);
  if (geometry !== null) {
    const format = geometry.pointerFormat === PointerFormat.flat ? "flat" : "micro-group";
    const { dataBlockBytes, metaBlockBytes } = geometry;
    rows.push(["blocks", `data ${dataBlockBytes}, meta ${metaBlockBytes}, pointers ${format}`]);
  }
  if (root !== null) {
    rows.push(["root", `${root.form}, level ${root.level}, ${root.count} entries`]);
    for (const { key, pointer } of root.entries) rows.push([`  ${key}`, pointer]);
  }
  const where = offset === 0 ? object : `${object} at ${offset}`;
  return `inode in ${where}\n${rowsText(rows, "  ")}${problemsText(problems, "  ")}`;
}

function fieldText(name: string, value: number | string): string {
  if (name === "metaConfig" || name === "mode") return hexText(value);
  const isTime = /^[acm]time$/.test(name) && typeof value === "number" && value > 0;
  return isTime ? `${value} (${timeText(value * 1000)})` : String(value);
}

/** Of a number that was read as one. */
export function hexText(value: number | string): string {
  return typeof value === "number" ? `0x${value.toString(16).padStart(8, "0")}` : value;
}

/** What a list leaves out. */
export function moreText({ total, listed }: { total: number; listed: readonly unknown[] }): string {
  return total > listed.length ? `  and ${total - listed.length} more (--limit)\n` : "";
}

export function problemsText(problems: readonly string[], indent: string): string {
  return problems.map((problem) => `${indent}damaged: ${problem}\n`).join("");
}
