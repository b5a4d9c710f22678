// How the tree of a checkpoint reads for people.

import { exactSize, formatSize } from "../base/units.ts";
import type {
  LevelReport,
  SegmentSpace,
  TreeNodeReport,
  TreeReport,
} from "../replica/inspect_tree.ts";
import { inodeText, moreText } from "./inspect_record_text.ts";
import { rowsText } from "./rows.ts";
import { formatTable } from "./table.ts";

export function treeText(report: TreeReport): string {
  const { uri, inode, nodes, levels, segments, damaged } = report;
  const rows: [string, string][] = [
    ["replica", uri],
    ["checkpoint", String(inode.fields.lastCno ?? "unknown")],
    ["mapped", `${report.dataBlocks} blocks, ${exactSize(report.dataBytes)}`],
    ["zero blocks", String(report.zeroBlocks)],
    ["nodes", String(nodes.total)],
    ["damaged nodes", String(damaged)],
    ["used", `${usedText(report.usedBytes, report.segmentsBytes)} in ${segments.total} segments`],
  ];
  const sections = [rowsText(rows, ""), inodeText(inode)];
  if (nodes.total > 0) {
    sections.push("tree\n" + nodes.listed.map(nodeText).join("") + moreText(nodes));
  }
  if (levels.length > 0) sections.push("levels\n" + levelsText(levels));
  if (segments.total > 0) {
    const { dataBlockBytes = 0, metaBlockBytes = 0 } = inode.geometry ?? {};
    const used = segments.listed.map((segment) => ({
      segment,
      bytes: segment.blocks * dataBlockBytes + segment.nodes * metaBlockBytes,
    }));
    sections.push("space used in segments\n" + segmentsText(used) + moreText(segments));
  }
  return sections.join("\n");
}

function nodeText(node: TreeNodeReport): string {
  const { depth, level, object, offset, firstKey, lastKey, count, capacity, problem } = node;
  const keys = firstKey === null
    ? "no blocks"
    : level > 1 || lastKey === null
    ? `from block ${firstKey}`
    : `blocks ${firstKey} to ${lastKey}`;
  const fill = count === null ? "" : `, ${count}/${capacity} (${percent(count, capacity)})`;
  const damage = problem === null ? "" : `\n${"  ".repeat(depth + 3)}damaged: ${problem}`;
  return `${
    "  ".repeat(depth + 1)
  }level ${level}  ${object} at ${offset}  ${keys}${fill}${damage}\n`;
}

function levelsText(levels: readonly LevelReport[]): string {
  const rows = levels.map(({ level, nodes, damaged, children, slots }) => [
    `  ${level}`,
    String(nodes),
    String(children),
    percent(children, slots),
    String(damaged),
  ]);
  const head = ["  LEVEL", "NODES", "ENTRIES", "FILL", "DAMAGED"];
  return formatTable(head, rows, { right: [0, 1, 2, 3, 4] });
}

function segmentsText(used: readonly { segment: SegmentSpace; bytes: number }[]): string {
  const rows = used.map(({ segment: { segmentId, nodes, blocks, sizeBytes }, bytes }) => [
    `  ${segmentId}`,
    String(nodes),
    String(blocks),
    formatSize(bytes),
    sizeBytes === null ? "missing" : formatSize(sizeBytes),
    sizeBytes === null ? "" : percent(bytes, sizeBytes),
  ]);
  const head = ["  SEGMENT", "NODES", "BLOCKS", "USED", "OBJECT", ""];
  return formatTable(head, rows, { right: [0, 1, 2, 3, 4, 5] });
}

function usedText(usedBytes: number, segmentsBytes: number): string {
  return `${formatSize(usedBytes)} of ${formatSize(segmentsBytes)}`;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "-" : `${Math.round(100 * part / whole)}%`;
}
