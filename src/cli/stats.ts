// `stats`: every counter of a running device, once or as rates at an interval.

import { checkRange } from "../base/range.ts";
import { stats } from "../control/client.ts";
import type { StatsReport } from "../control/protocol.ts";
import { GAUGES } from "../shared/counters.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { daemonChoice, daemonSocket } from "./find_daemon.ts";
import { integerOption } from "./options.ts";
import { formatTable } from "./table.ts";

export const statsCommand = defineCommand({
  name: "stats",
  summary: "Show every counter of a device",
  description:
    "Counters grow from the start of the device; times, sizes and numbers of the moment (last…, oldest…, " +
    "resyncSince…, resyncFrom…, dirtyRegions) do not. With --watch, the change per second is shown " +
    "again and again until SIGINT.",
  options: {
    ...daemonChoice,
    watch: integerOption("--watch <SECONDS>", { summary: "Repeat at this interval, 1 to 3600" }),
  },
  examples: [["stats -n 0 --watch 1", "Rates, every second"]],
  async run(ctx, values) {
    checkRange("--watch", values.watch ?? 1, 1, 3600);
    const socket = await daemonSocket(ctx, values, { orOnly: true });
    const first = await stats(socket, { signal: ctx.signal });
    if (values.watch === undefined) show(ctx, values.json, first);
    else await watch(ctx, { socket, first, seconds: values.watch, json: values.json });
  },
});

function show(ctx: Context, json: boolean, report: StatsReport): void {
  if (json) {
    ctx.stdout.write(JSON.stringify(report) + "\n");
    return;
  }
  const rows = Object.entries(report.counters).map(([name, value]) => [name, String(value)]);
  ctx.stdout.write(formatTable(["COUNTER", "TOTAL"], rows, { right: [1] }));
}

async function watch(
  ctx: Context,
  options: { socket: string; first: StatsReport; seconds: number; json: boolean },
): Promise<void> {
  let before = options.first;
  for (;;) {
    await ctx.clock.sleep(options.seconds * 1000, ctx.signal);
    if (ctx.signal.aborted) return;
    const now = await stats(options.socket, { signal: ctx.signal });
    const text = options.json ? JSON.stringify(now) + "\n" : ratesText(before, now);
    if (!ctx.stdout.write(text)) return; // nobody reads any more
    before = now;
  }
}

/** What changed between two reports, counters per second; what stood still is left out. */
function ratesText(before: StatsReport, now: StatsReport): string {
  const seconds = Math.max(0.001, (now.takenMs - before.takenMs) / 1000);
  const rows = Object.entries(now.counters)
    .map(([name, value]) => ({ name, value, change: value - (before.counters[name] ?? 0) }))
    .filter(({ change }) => change !== 0)
    .map(({ name, value, change }) => [
      name,
      String(value),
      GAUGES.has(name) ? "-" : (change / seconds).toFixed(1),
    ]);
  const time = new Date(now.takenMs).toISOString().slice(11, 19);
  return formatTable([time, "TOTAL", "PER SECOND"], rows, { right: [1, 2] }) + "\n";
}
