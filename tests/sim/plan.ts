// What a world is like, drawn from its seed: sizes, habits of the guest, tempers of drive and store, and
// how each life of the daemon ends.

import { type Failpoint, FAILPOINTS } from "../../src/base/failpoints.ts";
import { SECTOR } from "../../src/base/units.ts";
import type { ModeOrder } from "../../src/replication/wanted_mode.ts";
import type { Prng } from "../support/prng.ts";
import { type Defect, type DriveTemper, SOUND_DRIVE } from "./defects.ts";
import type { Habits } from "./guest.ts";
import type { Outage } from "./sim_store.ts";

export const UNIT_BYTES = 4096;

/** Where the least is left to chance by the rest of a plan. */
const INTENT_FAILPOINTS = FAILPOINTS.filter((name) => name.startsWith("intent."));
const STAGED_FAILPOINTS = FAILPOINTS.filter((name) =>
  name.startsWith("staged.") || name === "attach.before-resume"
);
const GIVE_UP_FAILPOINTS = FAILPOINTS.filter((name) => name.endsWith("-give-up"));

/**
 * `kill`: the process dies; `cut`: the power goes; `lost`: its machine loses guest and drive, while the
 * process goes on somewhere for some time, in touch with the store.
 */
export type Crash = "kill" | "cut" | "lost";

/** How a life of the daemon ends. */
export type End =
  /** In order, after some time. */
  | { readonly kind: "stop"; readonly afterMs: number }
  /** In order, after another primary has taken the replica over and has worked for some time. */
  | {
    readonly kind: "rival";
    readonly stopAfterMs: number;
    readonly rivalMs: number;
    /** It copies its whole drive where the replica is not what it knows; else it is refused then. */
    readonly isForced: boolean;
    /** The rival gives the replica back; else it disappears. */
    readonly rivalStops: boolean;
  }
  /** The process or the machine dies at an event, wherever it is: starting, working or stopping. */
  | {
    readonly kind: Crash;
    readonly atEvent: number;
    /** If the daemon has not died by then, it is stopped. */
    readonly stopAfterMs: number;
  }
  /** The same at a failpoint's `hit`th hit, or some events after it. */
  | {
    readonly kind: Crash;
    readonly failpoint: Failpoint;
    readonly hit: number;
    readonly eventsLater: number;
    readonly stopAfterMs: number;
  };

/** What an operator may do in a life, one after the other. */
export const ORDERS: readonly (readonly ModeOrder[])[] = [
  ["pause"],
  ["pause", "resume"],
  ["pause", "resync-all"],
  ["resync-all"],
];

export interface WorldPlan {
  readonly queues: number;
  readonly depth: number;
  readonly deviceBlocks: number;
  /** Whole sectors; blocks may lie across borders of regions. */
  readonly regionBytes: number;
  readonly poolUnits: number;
  readonly batchBlocks: number;
  readonly maxAgeMs: number;
  readonly intentGenerationMs: number;
  readonly claimLookMs: number;
  readonly asideLookMs: number;
  readonly congestion: "resync" | "block";
  readonly recoverConcurrency: number;
  /** Bytes a second; null: no limit. */
  readonly resyncRate: number | null;
  readonly habits: Habits;
  /** The drive holds data before it is formatted. */
  readonly preset: boolean;
  readonly skipInitialSync: boolean;
  readonly driveLatencyMs: number;
  readonly driveFailOneIn: number;
  readonly driveTemper: DriveTemper;
  readonly storeLatencyMs: number;
  readonly storeFailOneIn: number;
  readonly storeGarbageOneIn: number;
  readonly storeConflictOneIn: number;
  /** One life in so many gets an order of the operator; 0: none. */
  readonly orderOneIn: number;
  /** In one life in so many the operator compares primary and replica; 0: in none. */
  readonly compareOneIn: number;
  /** How long after what came before it an order is given, at most. */
  readonly orderWithinMs: number;
  readonly outages: readonly Outage[];
  readonly ends: readonly End[];
}

export function drawPlan(random: Prng): WorldPlan {
  const plan = drawAnyPlan(random);
  const slow = random.oneIn(4) ? withSlowCopies(plan, random) : plan;
  const rival = random.oneIn(8) ? withRival(slow, random) : slow;
  const drawn = random.oneIn(3) ? { ...rival, driveTemper: drawTemper(random, rival) } : rival;
  return { ...drawn, compareOneIn: random.pick([0, 0, 1, 2]) };
}

/** A world in which another primary takes the replica over in one life. */
function withRival(plan: WorldPlan, random: Prng): WorldPlan {
  const rival: End = {
    kind: "rival",
    stopAfterMs: 100 + random.below(random.oneIn(3) ? 4000 : 600),
    rivalMs: random.below(2000),
    isForced: random.oneIn(2),
    rivalStops: random.oneIn(2),
  };
  const ends = plan.ends.toSpliced(random.below(plan.ends.length + 1), 0, rival);
  return { ...plan, ends, storeGarbageOneIn: 0 };
}

/** A drive that fails what the daemon does with it, or can't read what it once wrote. */
function drawTemper(random: Prng, { deviceBlocks, ends }: WorldPlan): DriveTemper {
  return {
    metadataFailOneIn: random.pick([0, 0, 30, 150]),
    flushFailOneIn: random.pick([0, 0, 30, 150]),
    flushLoses: random.oneIn(2),
    lossIsTold: random.oneIn(2),
    readFailOneIn: random.pick([0, 0, 20, 300]),
    defects: random.oneIn(2) ? [] : drawDefects(random, deviceBlocks, ends.length),
  };
}

function drawDefects(random: Prng, deviceBlocks: number, lives: number): Defect[] {
  return Array.from({ length: 1 + random.below(4) }, () => {
    const fromMs = random.below(random.pick([1, 3000]));
    return {
      startSector: random.below(deviceBlocks * UNIT_BYTES / SECTOR - 1),
      sectors: 1 + random.below(random.oneIn(3) ? 100 : 8),
      fromMs,
      untilMs: random.oneIn(2) ? Infinity : fromMs + random.below(6000),
      untilLife: random.oneIn(2) ? Infinity : 1 + random.below(lives),
    };
  });
}

/** A world in which a resync takes so long that it is cut short again and again. */
function withSlowCopies(plan: WorldPlan, random: Prng): WorldPlan {
  return {
    ...plan,
    deviceBlocks: plan.deviceBlocks + 64,
    // Of the whole device, or of what a first life leaves dirty.
    preset: plan.preset,
    skipInitialSync: !plan.preset,
    resyncRate: random.pick([32, 64, 128, 256]) * 1024,
    intentGenerationMs: random.pick([0, 20, 100]),
    orderOneIn: random.pick([0, 2]),
    orderWithinMs: 2000,
    storeLatencyMs: Math.min(plan.storeLatencyMs, 20),
    ends: random.oneIn(3)
      ? drawBrokenClaim(random)
      : [...plan.ends, ...plan.ends].map((end) => random.oneIn(2) ? drawStagedEnd(random) : end),
  };
}

/** Dead while a resync has staged regions. */
function drawStagedEnd(random: Prng): End {
  return {
    kind: random.oneIn(2) ? "kill" : "cut",
    failpoint: random.pick(STAGED_FAILPOINTS),
    hit: 1 + random.below(3),
    eventsLater: random.oneIn(2) ? 0 : random.below(200),
    stopAfterMs: 300 + random.below(4000),
  };
}

/** After that, dead in two starts in a row: then nobody can tell any more who has claimed the replica. */
function drawBrokenClaim(random: Prng): readonly End[] {
  const attach = (failpoint: Failpoint): End => {
    const kind = random.oneIn(2) ? "kill" : "cut";
    return { kind, failpoint, hit: 1, eventsLater: 0, stopAfterMs: 600 };
  };
  const giveUp = random.pick(GIVE_UP_FAILPOINTS);
  return [
    drawStagedEnd(random),
    attach("attach.after-card"),
    attach("attach.after-touch"),
    attach(giveUp),
    drawStagedEnd(random),
  ];
}

function drawAnyPlan(random: Prng): WorldPlan {
  const ioBlocks = 1 + random.below(4);
  const deviceBlocks = 24 + random.below(random.oneIn(3) ? 200 : 64);
  const preset = random.oneIn(2);
  const poolUnits = 2 * (ioBlocks + 2) + random.below(random.oneIn(2) ? 24 : 160);
  return {
    queues: 1 + random.below(3),
    depth: 1 + random.below(6),
    deviceBlocks,
    regionBytes: drawRegionBytes(random),
    poolUnits,
    // Any one entry fits, a copy of resync as well.
    batchBlocks: Math.max(ioBlocks + 2, 16, poolUnits >> 2) + random.below(64),
    maxAgeMs: random.pick([20, 100, 400]),
    intentGenerationMs: random.pick([0, 100, 3000]),
    claimLookMs: random.pick([50, 1000, 30_000]),
    asideLookMs: random.pick([100, 1000, 60_000]),
    congestion: random.oneIn(4) ? "block" : "resync",
    recoverConcurrency: 1 + random.below(3),
    resyncRate: random.oneIn(4) ? 256 * 1024 : null,
    habits: drawHabits(random, ioBlocks, deviceBlocks),
    preset,
    skipInitialSync: !preset && random.oneIn(2),
    driveLatencyMs: random.pick([0.02, 0.1, 1]),
    driveFailOneIn: random.oneIn(4) ? 40 : 0,
    driveTemper: SOUND_DRIVE,
    storeLatencyMs: random.pick([1, 5, 20, 80]),
    storeFailOneIn: random.pick([0, 0, 30, 8]),
    storeGarbageOneIn: random.oneIn(8) ? 100 : 0,
    storeConflictOneIn: random.pick([0, 0, 0, 50, 8]),
    orderOneIn: random.pick([0, 3]),
    orderWithinMs: 400,
    compareOneIn: 0,
    outages: drawOutages(random),
    ends: Array.from({ length: 1 + random.below(4) }, () => drawEnds(random)).flat(),
  };
}

function drawRegionBytes(random: Prng): number {
  if (random.oneIn(2)) return (1 + random.below(16)) * UNIT_BYTES;
  return (1 + random.below(16 * UNIT_BYTES / SECTOR)) * SECTOR;
}

function drawHabits(random: Prng, ioBlocks: number, deviceBlocks: number): Habits {
  const dull = random.oneIn(3);
  return {
    writes: 60,
    flushes: random.pick([1, 5, 15]),
    discards: dull ? 0 : random.below(8),
    zeroes: dull ? 0 : random.below(8),
    fuaOneIn: random.pick([4, 20, 1000]),
    unalignedOneIn: random.pick([0, 3, 10]),
    hotBlocks: random.pick([2, 8, 32, deviceBlocks]),
    thinkMs: random.pick([0.3, 2, 10, 60]),
    ioBlocks,
  };
}

function drawOutages(random: Prng): Outage[] {
  const outages: Outage[] = [];
  if (!random.oneIn(3)) return outages;
  for (let left = 1 + random.below(2); left > 0; left--) {
    const fromMs = random.below(3000);
    const lengthMs = random.oneIn(4) ? random.below(40_000) : random.below(2000);
    outages.push({ fromMs, untilMs: fromMs + lengthMs, hangs: random.oneIn(2) });
  }
  return outages;
}

function drawEnds(random: Prng): readonly End[] {
  if (!random.oneIn(12)) return [drawEnd(random)];
  // Dead between segment and inode, and again where the next start finds that.
  const kind = random.oneIn(2) ? "kill" : "cut";
  const common = { kind, eventsLater: 0, stopAfterMs: 600 } as const;
  const failpoint = random.pick(["attach.before-adoption", "attach.after-adoption"] as const);
  return [
    { ...common, failpoint: "commit.after-segment", hit: 1 + random.below(8) },
    { ...common, failpoint, hit: 1 },
  ];
}

function drawEnd(random: Prng): End {
  // Marks are taken off the dirty map after some seconds.
  const stopAfterMs = 100 + random.below(random.oneIn(3) ? 8000 : 600);
  const draw = random.below(10);
  if (draw < 2) return { kind: "stop", afterMs: stopAfterMs };
  const kind: Crash = random.oneIn(6) ? "lost" : random.oneIn(2) ? "kill" : "cut";
  if (draw < 5) {
    const failpoint = random.pick(random.oneIn(3) ? INTENT_FAILPOINTS : FAILPOINTS);
    const often = /^(queue|commit|metadata|intent|staged)\.|-read$/.test(failpoint);
    const hit = 1 + random.below(failpoint.startsWith("queue.") ? 200 : often ? 6 : 2);
    const eventsLater = random.oneIn(2) ? 0 : random.below(60);
    return { kind, failpoint, hit, eventsLater, stopAfterMs };
  }
  const atEvent = random.below(random.pick([100, 500, 3000, 8000]));
  return { kind, atEvent, stopAfterMs };
}
