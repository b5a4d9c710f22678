// What the benchmark in the guest measures: its rows, what comes out of the guest, and the medians and
// ratios that are made of it. Pure; shared by guest_probe.ts (inside) and guest_bench.ts (outside).

/** The devices under test, in the order of the tables. */
export const TARGETS = ["bare", "null", "loop", "replica"] as const;
export type TargetName = typeof TARGETS[number];

export interface Row {
  readonly name: string;
  /** fio's words. */
  readonly rw: "randread" | "randwrite" | "read" | "write";
  readonly blockBytes: number;
  readonly depth: number;
}

export const ROWS: readonly Row[] = [
  { name: "4 KiB random read, depth 1", rw: "randread", blockBytes: 4096, depth: 1 },
  { name: "4 KiB random read, depth 32", rw: "randread", blockBytes: 4096, depth: 32 },
  { name: "4 KiB random write, depth 1", rw: "randwrite", blockBytes: 4096, depth: 1 },
  { name: "4 KiB random write, depth 32", rw: "randwrite", blockBytes: 4096, depth: 32 },
  { name: "512 KiB sequential read, depth 8", rw: "read", blockBytes: 524288, depth: 8 },
  { name: "512 KiB sequential write, depth 8", rw: "write", blockBytes: 524288, depth: 8 },
];

export interface Figures {
  readonly iops: number;
  readonly bytesPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** One run of fio on one device. */
export interface Sample extends Figures {
  readonly row: string;
  readonly target: TargetName;
  readonly round: number;
}

/** What the replica had still to take when fio had ended. */
export interface Drain {
  readonly row: string;
  readonly round: number;
  readonly lagBytes: number;
  readonly seconds: number;
  /** Requests that waited for room in the pool. */
  readonly poolWaits: number;
}

export interface GuestJob {
  readonly rounds: number;
  /** Of each run of fio, after a first second that does not count. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Size of each device. */
  readonly spanBytes: number;
  readonly poolBytes: number;
}

export interface GuestRun extends GuestJob {
  readonly kernel: string;
  readonly samples: readonly Sample[];
  readonly drains: readonly Drain[];
}

export interface Ratio {
  readonly name: string;
  readonly value: number;
  /** Null: nothing is aimed at. */
  readonly target: number | null;
}

export interface RowSummary {
  readonly row: string;
  readonly targets: Readonly<Record<TargetName, Figures>>;
  readonly ratios: readonly Ratio[];
}

const LOOP_OF_BARE = 0.6;
const REPLICA_OF_LOOP = 0.8;

export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Medians over the rounds, of the rows that were run. */
export function summarise(samples: readonly Sample[]): RowSummary[] {
  return ROWS.map((row) => ({ row, taken: samples.filter((sample) => sample.row === row.name) }))
    .filter(({ taken }) => taken.length > 0)
    .map(({ row, taken }) => ({
      row: row.name,
      targets: Object.fromEntries(
        TARGETS.map((target) => [target, figures(taken.filter((one) => one.target === target))]),
      ) as RowSummary["targets"],
      ratios: [
        ratio(taken, ["loop", "bare"], row.depth === 32 ? LOOP_OF_BARE : null),
        ratio(taken, ["replica", "loop"], REPLICA_OF_LOOP),
        ratio(taken, ["replica", "null"], null),
      ],
    }));
}

function figures(samples: readonly Sample[]): Figures {
  return {
    iops: median(samples.map(({ iops }) => iops)),
    bytesPerSecond: median(samples.map(({ bytesPerSecond }) => bytesPerSecond)),
    p50Us: median(samples.map(({ p50Us }) => p50Us)),
    p99Us: median(samples.map(({ p99Us }) => p99Us)),
  };
}

/** The median of the ratios within each round: what ran side by side is compared. */
function ratio(
  samples: readonly Sample[],
  [above, below]: readonly [TargetName, TargetName],
  target: number | null,
): Ratio {
  const values = samples.filter((one) => one.target === above).map(({ round, iops }) => {
    const other = samples.find((one) => one.target === below && one.round === round);
    return iops / (other?.iops ?? NaN);
  });
  return { name: `${above}/${below}`, value: median(values), target };
}
