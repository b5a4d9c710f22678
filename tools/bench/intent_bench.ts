// What the write-intent map costs on the I/O path, natively: random writes over a device that is clean,
// over one whose regions are all named already, and with the map off, side by side.
//
// Each run has the real loop, gate, ring and drive; the page writes of the map reach the drive with
// RWF_DSYNC. "Clean" counts from the first write to a device without a mark until as many writes are
// done as `spanWrites` says, so the fewer writes per region, the harder.

import { KiB, MiB } from "../../src/base/units.ts";
import { UBLK_IO_OP_WRITE } from "../../src/ublk/uapi.ts";
import type { HotLoopOptions } from "../../tests/support/hot_loop.ts";
import { measureHotLoop } from "../../tests/support/measure_hot_loop.ts";
import { median } from "./guest_results.ts";
import { say, table } from "./print.ts";
import { inRounds } from "./rounds.ts";

const FILE_BYTES = 256 * MiB;
const WARM_UP = 40_000;
const CLEAN_TARGET = 0.7;
const DIRTY_TARGET = 0.95;

interface IntentWorkload {
  readonly name: string;
  readonly regionBytes: number;
  readonly depth: number;
  readonly operations: number;
}

const WORKLOADS: readonly IntentWorkload[] = [
  { name: "32 regions of 8 MiB, depth 32", regionBytes: 8 * MiB, depth: 32, operations: 60_000 },
  { name: "32 regions of 8 MiB, depth 1", regionBytes: 8 * MiB, depth: 1, operations: 10_000 },
  {
    name: "4096 regions of 64 KiB, depth 32",
    regionBytes: 64 * KiB,
    depth: 32,
    operations: 60_000,
  },
  // As many regions as 512 GiB have by default: nearly each random write is the first to its region.
  { name: "65536 regions of 4 KiB, depth 32", regionBytes: 4 * KiB, depth: 32, operations: 60_000 },
  { name: "65536 regions of 4 KiB, depth 1", regionBytes: 4 * KiB, depth: 1, operations: 10_000 },
];

const STATES = {
  off: { writeIntent: false },
  clean: { cleanStart: true },
  dirty: { dirtyStart: true },
} as const;
type State = keyof typeof STATES;

export interface IntentRow {
  readonly workload: string;
  readonly perSecond: Readonly<Record<State, number>>;
  /** Medians of the ratios within each round. */
  readonly cleanRatio: number;
  readonly dirtyRatio: number;
}

export async function intentBench(options: { rounds: number }): Promise<IntentRow[]> {
  return await inRounds({
    ...options,
    fileBytes: FILE_BYTES,
    workloads: WORKLOADS,
    async measure(workload: IntentWorkload, path: string, round: number) {
      const figures = { off: 0, clean: 0, dirty: 0 };
      for (const state of turned(round)) figures[state] = await measure(workload, state, path);
      return figures;
    },
    row({ name }, taken): IntentRow {
      const of = (state: State) => median(taken.map((figures) => figures[state]));
      return {
        workload: name,
        perSecond: { off: of("off"), clean: of("clean"), dirty: of("dirty") },
        cleanRatio: median(taken.map(({ clean, off }) => clean / off)),
        dirtyRatio: median(taken.map(({ dirty, off }) => dirty / off)),
      };
    },
  });
}

/** The states, beginning with another one in each round. */
function turned(round: number): State[] {
  const states = Object.keys(STATES) as State[];
  const by = round % states.length;
  return [...states.slice(by), ...states.slice(0, by)];
}

async function measure(
  { regionBytes, depth, operations }: IntentWorkload,
  state: State,
  primaryPath: string,
): Promise<number> {
  const options: HotLoopOptions = {
    handler: "replica",
    direct: true,
    primaryPath,
    depth,
    kinds: [{ opFlags: UBLK_IO_OP_WRITE, bytes: 4 * KiB, alignBytes: 4 * KiB, share: 1 }],
    startBytes: 0,
    spanBytes: FILE_BYTES,
    regionBytes,
    warmUp: WARM_UP,
    operations,
    poolBytes: 64 * MiB,
    ...STATES[state],
  };
  const result = await measureHotLoop(options);
  return result.operations / result.seconds;
}

export function printIntent(rows: readonly IntentRow[]): void {
  say(`
The write-intent map, natively: 4 KiB random writes over ${
    FILE_BYTES / MiB
  } MiB of a file, direct; operations
per second with the map off, over a clean device, and once its regions are dirty.`);
  say(table(
    ["", "off", "clean", "dirty", "clean/off", "dirty/off"],
    rows.map(({ workload, perSecond, cleanRatio, dirtyRatio }) => [
      workload,
      ...[perSecond.off, perSecond.clean, perSecond.dirty].map((value) => value.toFixed(0)),
      judged(cleanRatio, CLEAN_TARGET),
      judged(dirtyRatio, DIRTY_TARGET),
    ]),
  ));
}

function judged(ratio: number, target: number): string {
  return `${ratio.toFixed(2)} ${ratio >= target ? "≥" : "BELOW"} ${target.toFixed(2)}`;
}
