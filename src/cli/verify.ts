// `verify`: has the daemon compare primary and replica of a running device, and mend what differs.

import { EXIT_CODES } from "../base/errors.ts";
import { formatSize } from "../base/units.ts";
import { verify } from "../control/client.ts";
import { type ByteSpan, verdictOf, type VerifyReport } from "../replication/verify_report.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { daemonChoice, daemonSocket } from "./find_daemon.ts";
import { flagOption } from "./options.ts";
import { formatDuration } from "./duration.ts";
import { progressText } from "./progress_text.ts";

/** The daemon tells its progress more often than that, whatever it waits for. */
const SILENCE_MS = 60_000;
const LINE_MS = 5_000;
/** Lines of places that are printed; with --json all. */
const PLACES_MAX = 50;

export const verifyCommand = defineCommand({
  name: "verify",
  summary: "Compare primary and replica while the device is in use",
  description:
    "The daemon reads the whole device and the newest checkpoints of its replica and compares them by " +
    "digests (SHA-256 of each block). It yields to the guest, keeps to --resync-rate of add, and needs " +
    "a few MiB. What is written meanwhile is compared again until it can be told. SIGINT ends the " +
    "comparison in the daemon, too.",
  options: {
    ...daemonChoice,
    repair: flagOption("--repair", {
      summary: "Copy again what differs (the mode becomes forward-part until that is done)",
    }),
  },
  examples: [
    ["verify -n 0", "The device /dev/ublkb0"],
    ["verify -n 0 --repair && echo equal", 'Repair what differs; "equal" if nothing did'],
  ],
  notes: `Exit codes:
  0  equal
  3  they differ somewhere, also when --repair had it copied again; verify again then
  4  it could not be told: replication is paused or has ended, nothing advances, or the
     primary can't be read everywhere and the rest is equal

Replicas have no checksums over data blocks, so this is how damage in a store is found
before a restore needs the block. Places where the replica can't be read at all are
reported as damaged: --repair does not mend those, since what is missing may be more than
data; "inspect tree" says what it is. Where the primary can't be read the replica has what
it had: --repair leaves that alone, too, and export gives it. --repair survives a crash: what it marks is in the
primary's dirty map.`,
  async run(ctx, values) {
    const socket = await daemonSocket(ctx, values, { orOnly: true });
    const report = await compare(ctx, socket, values.repair);
    ctx.stdout.write(values.json ? JSON.stringify(report, null, 2) + "\n" : reportText(report));
    return EXIT_OF[verdictOf(report)];
  },
});

const EXIT_OF = { equal: 0, different: EXIT_CODES.data, unknown: EXIT_CODES.unavailable };

async function compare(ctx: Context, socket: string, repair: boolean): Promise<VerifyReport> {
  let shownMs = ctx.clock.nowMs();
  return await verify(socket, { repair }, (progress) => {
    const nowMs = ctx.clock.nowMs();
    if (nowMs - shownMs < LINE_MS) return;
    shownMs = nowMs;
    ctx.stderr.write(`${progressText(progress)}\n`);
  }, { timeoutMs: SILENCE_MS, signal: ctx.signal });
}

/** The report as a person reads it. */
export function reportText(report: VerifyReport): string {
  const { comparedBytes, cno, differing, damaged, unreadable, busyBytes, isRepairing } = report;
  const places = [
    ...differing.map((span) => `differs  ${placeText(span)}`),
    ...damaged.map((span) => `damaged  ${placeText(span)}: ${span.message}`),
    ...unreadable.map((span) => `unreadable  ${placeText(span)}`),
  ];
  const more = places.length - PLACES_MAX;
  const took = formatDuration(report.tookMs);
  const compared = `${formatSize(comparedBytes)} compared up to checkpoint ${cno} in ${took}`;
  return [
    ...places.slice(0, PLACES_MAX),
    ...(more > 0 ? [`and ${more} more places (--json prints all)`] : []),
    `${resultText(report)}: ${compared}`,
    ...(unreadable.length > 0
      ? [`${sizeOf(unreadable)} of the primary can't be read and could not be compared`]
      : []),
    ...(busyBytes > 0
      ? [`${formatSize(busyBytes)} were written all the time and could not be compared`]
      : []),
    ...(report.isComplete ? [] : [unfinishedText(report)]),
    ...(isRepairing ? ["what differs is copied again; verify once more when that is done"] : []),
  ].map((line) => `${line}\n`).join("");
}

function resultText(report: VerifyReport): string {
  switch (verdictOf(report)) {
    case "equal":
      return "primary and replica are equal";
    case "different":
      return `${sizeOf(report.differing)} differ, ${report.damaged.length} places are damaged`;
    case "unknown":
      return "primary and replica are equal as far as the primary can be read";
  }
}

function unfinishedText(report: VerifyReport): string {
  return verdictOf(report) === "unknown"
    ? "too much can't be read, the rest was not looked at"
    : 'too much differs, the rest was not looked at: "mode set forward-full"';
}

function sizeOf(spans: readonly ByteSpan[]): string {
  return formatSize(spans.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0));
}

function placeText({ offsetBytes, lengthBytes }: ByteSpan): string {
  return `${formatSize(lengthBytes)} at offset ${offsetBytes}`;
}
