// How a primary's metadata reads for people; programs get the report itself as JSON.

import { exactSize as exact, formatSize } from "../base/units.ts";
import { BlockDevice } from "../primary/block_device.ts";
import {
  inspectPrimary,
  type MapReport,
  type PageReport,
  type PrimaryReport,
  type SuperblockReport,
} from "../primary/inspect_primary.ts";
import { EXIT_CODES } from "../base/errors.ts";
import type { StagedTag } from "../format/region_map.ts";
import type { Superblock } from "../format/superblock.ts";
import type { Context } from "./context.ts";
import { rowsText as indented, timeText } from "./rows.ts";
import { formatTable } from "./table.ts";

/** Ranges of regions that are printed of a map; JSON has more. */
const RANGES_SHOWN = 20;

/** Prints the metadata of a primary; exit code 3 when no superblock can be used. */
export async function runInspectPrimary(
  ctx: Context,
  path: string,
  { json }: { json: boolean },
): Promise<number> {
  const disk = await BlockDevice.open(path, { access: "read", buffered: "fallback" });
  try {
    const report = await inspectPrimary(disk);
    ctx.stdout.write(json ? JSON.stringify(report, null, 2) + "\n" : primaryReportText(report));
    return report.verdict === "valid" && report.reason === undefined ? 0 : EXIT_CODES.data;
  } finally {
    disk.close();
  }
}

export function primaryReportText(report: PrimaryReport): string {
  const sections = [
    summary(report),
    "superblock copies\n" + report.superblocks.map(superblockText).join(""),
  ];
  if (report.areas.length > 0) sections.push("layout\n" + areaTable(report));
  if (report.flushLog.length > 0) sections.push("flush log\n" + flushLogTable(report));
  if (report.maps.length > 0) {
    const maps = report.maps.map((map) => mapText(map, report.lastCno ?? 0));
    sections.push("region maps\n" + maps.join(""));
  }
  return sections.join("\n");
}

function summary(report: PrimaryReport): string {
  const rows: [string, string][] = [
    ["primary", `${report.path}, ${exact(report.sizeBytes)}`],
    ["verdict", verdictText(report)],
    ...(report.superblock === undefined ? [] : superblockRows(report.superblock)),
  ];
  if (report.lastCno !== null) rows.push(["last checkpoint", String(report.lastCno)]);
  return indented(rows, "");
}

function verdictText({ verdict, reason, redundant }: PrimaryReport): string {
  if (verdict === "absent") return "not formatted: no superblock";
  if (reason !== undefined) return `${verdict === "valid" ? "unusable" : verdict}: ${reason}`;
  return redundant ? "valid" : "valid, but only one superblock copy has the newest state";
}

function superblockRows(superblock: Superblock): [string, string][] {
  const { replicaRoot, uuid } = superblock;
  return [
    ["device uuid", uuid],
    ["state", superblock.state],
    ["replica", replicaRoot === "" ? "none" : `${replicaRoot}/${uuid}`],
    ["device size", exact(superblock.deviceSizeBytes)],
    ["region size", exact(superblock.regionBytes)],
    ["replica blocks", `data ${superblock.dataBlockBytes}, meta ${superblock.metaBlockBytes}`],
    ["claim", claimText(superblock)],
    ["created", timeText(superblock.createdMs)],
    ["written", timeText(superblock.writtenMs)],
    ["sequence", String(superblock.sequence)],
  ];
}

function claimText({ claim }: Superblock): string {
  if (claim === null) return "none yet";
  return claim.stage === "held" ? `epoch ${claim.epoch}` : `epoch ${claim.epoch}, unfinished`;
}

function superblockText(copy: SuperblockReport, index: number): string {
  const head = `  copy ${index} at ${copy.offsetBytes}: ${stateText(copy)}`;
  if (copy.value !== undefined) {
    const { sequence, uuid, state } = copy.value;
    return `${head}, sequence ${sequence}, ${state}, ${uuid}\n`;
  }
  if (copy.suspect === undefined) return `${head}\n`;
  const rows = Object.entries(copy.suspect)
    .map(([name, value]): [string, string] => [name, String(value)]);
  return `${head}\n    as it stands there, not to be believed:\n${indented(rows, "    ")}`;
}

function stateText<T>({ state, reason }: PageReport<T>): string {
  if (state === "absent") return "nothing of ours";
  return reason === undefined ? state : `${state}: ${reason}`;
}

function areaTable({ areas }: PrimaryReport): string {
  const rows = areas.map(({ name, offsetBytes, lengthBytes }) => [
    `  ${name}`,
    String(offsetBytes),
    String(lengthBytes),
    formatSize(lengthBytes),
  ]);
  return formatTable(["  AREA", "OFFSET", "BYTES", ""], rows, { right: [1, 2, 3] });
}

function flushLogTable({ flushLog, superblock }: PrimaryReport): string {
  const rows = flushLog.flatMap((slot, index) => {
    if (slot.state === "absent") return [];
    const record = slot.value;
    if (record === undefined) return [[`  ${index}`, "-", "-", "-", "-", stateText(slot)]];
    const foreign = superblock !== undefined && record.uuid !== superblock.uuid;
    return [[
      `  ${index}`,
      String(record.sequence),
      String(record.cno),
      timeText(record.timeMs),
      formatSize(record.committedBytes),
      foreign ? `of device ${record.uuid}` : "valid",
    ]];
  });
  if (rows.length === 0) return "  no records\n";
  return formatTable(["  SLOT", "SEQUENCE", "CNO", "TIME", "BYTES", "STATE"], rows);
}

function mapText(map: MapReport, lastCno: number): string {
  const pages = [
    `${map.validPages} valid`,
    `${map.absentPages} never written`,
    `${map.damagedPages.length} damaged`,
  ].join(", ");
  const head = `  ${map.name}: ${map.setRegions} of ${map.regionCount} regions set; ` +
    `${map.pages} ${map.pages === 1 ? "page" : "pages"}: ${pages}\n`;
  const damaged = map.damagedPages.map(({ page, reason }) => `    page ${page}: ${reason}\n`);
  const staged = map.staged.map((tag) => stagedText(tag, lastCno));
  return head + staged.join("") + damaged.join("") + rangesText(map);
}

function stagedText({ baseCno, segmentId, isWhole }: StagedTag, lastCno: number): string {
  const what = isWhole ? "a copy of the whole device" : "a resync";
  const past = baseCno < lastCno ? ", published since: these regions count no more" : "";
  return `    ${what} after checkpoint ${baseCno}, up to segment ${segmentId}${past}\n`;
}

function rangesText({ setRanges, moreRanges }: MapReport): string {
  if (setRanges.length === 0) return "";
  const shown = setRanges.slice(0, RANGES_SHOWN).map(({ firstRegion, lastRegion }) =>
    firstRegion === lastRegion ? `${firstRegion}` : `${firstRegion}-${lastRegion}`
  );
  const more = moreRanges || setRanges.length > RANGES_SHOWN ? ", …" : "";
  return `    regions ${shown.join(", ")}${more}\n`;
}
