// How the parts of a replica read for people; programs get the reports themselves as JSON.

import { EXIT_CODES } from "../base/errors.ts";
import { exactSize, formatSize } from "../base/units.ts";
import { holderText } from "../replica/claim_error.ts";
import { inspectReplica, orphanNames, type ReplicaReport } from "../replica/inspect_replica.ts";
import { inspectSegment, type SegmentReport } from "../replica/inspect_segment.ts";
import { inspectTree, readRawInode } from "../replica/inspect_tree.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import type { ReplicaLocation } from "../replica/replica_uri.ts";
import type { S3Config } from "../replica/s3_settings.ts";
import type { Context } from "./context.ts";
import type { ReplicaView } from "./inspect.ts";
import { hexText, inodeText, moreText, problemsText } from "./inspect_record_text.ts";
import { treeText } from "./inspect_tree_text.ts";
import { withReplica } from "./replica_access.ts";
import { rowsText, timeText } from "./rows.ts";
import { formatTable } from "./table.ts";

export interface InspectReplicaRequest {
  readonly view: ReplicaView;
  readonly location: ReplicaLocation;
  readonly s3: S3Config;
  /** Of the checkpoint, or of the segment. */
  readonly cno: number | undefined;
  readonly limit: number;
  readonly json: boolean;
}

interface Answer {
  readonly report: unknown;
  readonly text: string;
  readonly damaged: number;
}

/** Prints a part of a replica; exit code 3 when something in it is damaged. */
export async function runInspectReplica(
  ctx: Context,
  request: InspectReplicaRequest,
): Promise<number> {
  const answer = await withReplica(ctx, request, (store) => look(store, request, ctx.signal));
  const { report, text, damaged } = answer;
  ctx.stdout.write(request.json ? JSON.stringify(report, null, 2) + "\n" : text);
  return damaged === 0 ? 0 : EXIT_CODES.data;
}

async function look(
  store: ObjectStore,
  { view, cno, limit }: InspectReplicaRequest,
  signal: AbortSignal,
): Promise<Answer> {
  switch (view) {
    case "replica": {
      const report = await inspectReplica(store, { cno, limit, signal });
      return { report, text: replicaText(report), damaged: report.damaged };
    }
    case "inode": {
      const { raw: _, ...report } = await readRawInode(store, { cno, signal });
      return { report, text: inodeText(report), damaged: report.problems.length };
    }
    case "segment": {
      const report = await inspectSegment(store, cno ?? 0, { limit, signal });
      return { report, text: segmentText(report), damaged: report.damaged };
    }
    case "tree": {
      const report = await inspectTree(store, { cno, limit, signal });
      const damaged = report.damaged + report.inode.problems.length;
      return { report, text: treeText(report), damaged };
    }
  }
}

function replicaText(report: ReplicaReport): string {
  const { uri, inode, checkpoints, segmentsBytes, orphans, others, problems } = report;
  const rows: [string, string][] = [
    ["replica", uri],
    ["segments", `${checkpoints.total + orphans.length}, ${exactSize(segmentsBytes)}`],
  ];
  if (orphans.length > 0) rows.push(["never published", orphanNames(orphans, 10)]);
  if (others.length > 0) rows.push(["other objects", others.join(", ")]);
  const sections = [
    rowsText(rows, "") + problemsText(problems, ""),
    "side-car\n" + cardText(report),
    inodeText(inode),
    "checkpoints\n" + checkpointsText(report),
  ];
  return sections.join("\n");
}

function cardText({ card, cardProblem }: ReplicaReport): string {
  if (cardProblem !== null) return "  damaged\n";
  if (card === null) return "  none: another tool made this replica\n";
  return rowsText([
    ["device uuid", card.uuid],
    ["device size", exactSize(card.deviceSizeBytes)],
    ["region size", exactSize(card.regionBytes)],
    ["blocks", `data ${card.dataBlockBytes}, meta ${card.metaBlockBytes}`],
    ["created", timeText(card.createdMs)],
    ["writer", card.writer === null ? "none" : holderText(card.writer)],
    ["claims", String(card.epoch)],
  ], "  ");
}

function checkpointsText({ checkpoints }: ReplicaReport): string {
  const { total, listed } = checkpoints;
  if (listed.length === 0) return total === 0 ? "  none\n" : `  ${total}, none listed\n`;
  const rows = listed.map(({ cno, mtimeMs, sizeBytes, segmentBytes, damage }) => [
    `  ${cno}`,
    damage === null && mtimeMs > 0 ? timeText(mtimeMs) : "-",
    damage === null ? formatSize(sizeBytes) : "-",
    formatSize(segmentBytes),
    damage === null ? "" : `damaged: ${damage}`,
  ]);
  const more = total > listed.length ? `  the newest of ${total} segments\n` : "";
  return formatTable(["  CNO", "TIME", "SIZE", "SEGMENT", ""], rows, { right: [2, 3] }) + more;
}

function segmentText(report: SegmentReport): string {
  const { uri, object, sizeBytes, header, areas, isCheckpoint, problems } = report;
  const rows: [string, string][] = [
    ["segment", `${uri}/${object}, ${exactSize(sizeBytes)}`],
    ["checkpoint", isCheckpoint ? "yes" : "no: its inode does not name it"],
  ];
  const headerRows = Object.entries(header).map(([name, value]): [string, string] => [
    name,
    name === "magic" ? hexText(value) : String(value),
  ]);
  const sections = [
    rowsText(rows, "") + problemsText(problems, ""),
    "header\n" + rowsText(headerRows, "  "),
    inodeText(report.inode),
  ];
  if (areas !== null) {
    const { summaryBytes, metaOffset, dataOffset, endOffset } = areas;
    sections.push(
      "areas\n" + rowsText([
        ["summary", `0 to ${summaryBytes}`],
        ["nodes", `${metaOffset} to ${dataOffset}`],
        ["data", `${dataOffset} to ${endOffset}`],
      ], "  "),
    );
  }
  sections.push("nodes\n" + storedNodesText(report), "entries\n" + entriesText(report));
  return sections.join("\n");
}

function storedNodesText({ nodes }: SegmentReport): string {
  if (nodes.total === 0) return "  none\n";
  const rows = nodes.listed.map((node) => [
    `  ${node.offset}`,
    String(node.level),
    node.firstKey === null ? "-" : `${node.firstKey} to ${node.lastKey}`,
    `${node.count}/${node.capacity}`,
    node.problem === null ? "" : `damaged: ${node.problem}`,
  ]);
  const head = ["  OFFSET", "LEVEL", "BLOCKS", "FILL", ""];
  return formatTable(head, rows, { right: [1, 3] }) + moreText(nodes);
}

function entriesText({ entries }: SegmentReport): string {
  if (entries.total === 0) return "  none\n";
  const rows = entries.listed.map(({ block, pointer, problem }) => [
    `  ${block}`,
    pointer,
    problem === null ? "" : `damaged: ${problem}`,
  ]);
  return formatTable(["  BLOCK", "POINTER", ""], rows) + moreText(entries);
}
