import { KiB, MiB } from "../../../src/base/units.ts";
import {
  dirtyReport,
  resyncReport,
  verifyStatusReport,
} from "../../../src/control/replica_report.ts";
import type { Mode } from "../../../src/replication/mode.ts";
import { REPLICATOR_COUNTER, replicatorCounters } from "../../../src/shared/counters.ts";
import { History } from "../../../src/shared/history.ts";
import { IntentMap } from "../../../src/shared/intent_map.ts";
import {
  allocateShared,
  sharedLayout,
  type SharedViews,
  sharedViews,
} from "../../../src/shared/layout.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { assertEquals } from "../../support/assert.ts";

/** A device of 10 MiB with regions of 3 MiB and a sector: the last one is short. */
const REGION_BYTES = 3 * MiB + 512;
const DEVICE_BYTES = 10 * MiB;
const SINCE_MS = 5_000;

function newViews(): SharedViews {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: 4 * KiB,
    unitBytes: 4 * KiB,
    poolBytes: MiB,
    regionBytes: REGION_BYTES,
    deviceSizeBytes: DEVICE_BYTES,
  });
  return sharedViews(allocateShared(layout), layout);
}

function makeDirty(views: SharedViews, first: number, last: number): void {
  const map = new IntentMap(views);
  map.require(first, last);
  map.tryLock(0);
  map.compose(0);
  map.complete(0);
  map.unlock(0);
}

/** 1 MiB of three is copied, in 2 s. */
function resyncing(): SharedViews {
  const views = newViews();
  new StaleMap(views).mark(0, 2 * MiB / (4 * KiB));
  new History(views).endAtHead();
  const row = replicatorCounters(views);
  views.counters[row + REPLICATOR_COUNTER.resyncSinceMs] = SINCE_MS;
  views.counters[row + REPLICATOR_COUNTER.resyncFromBytes] = 7 * MiB;
  views.counters[row + REPLICATOR_COUNTER.resyncedBytes] = 8 * MiB;
  return views;
}

Deno.test("dirtyReport() counts regions, and bytes of the device only", () => {
  const views = newViews();
  assertEquals(dirtyReport(views), { regions: 0, bytes: 0 });
  makeDirty(views, 1, 1);
  assertEquals(dirtyReport(views), { regions: 1, bytes: REGION_BYTES });
  makeDirty(views, 3, 3);
  assertEquals(dirtyReport(views), { regions: 2, bytes: DEVICE_BYTES - 2 * REGION_BYTES });
  makeDirty(views, 0, 3);
  assertEquals(dirtyReport(views), { regions: 4, bytes: DEVICE_BYTES });
});

Deno.test("resyncReport() is null while the history is whole", () => {
  assertEquals(resyncReport(newViews(), "logging", 0), null);
});

Deno.test("resyncReport() has the time that is left at the pace of the moment", () => {
  const expected = {
    doneBytes: MiB,
    pendingBytes: 2 * MiB,
    bytesPerSecond: MiB / 2,
    remainingSeconds: 4,
  };
  for (const mode of ["forward-part", "forward-full", "logging"] satisfies Mode[]) {
    assertEquals(resyncReport(resyncing(), mode, MiB / 2), expected, mode);
  }
  const atOnce = resyncReport(resyncing(), "forward-part", 0);
  assertEquals([atOnce?.bytesPerSecond, atOnce?.remainingSeconds], [0, null]);
});

Deno.test("resyncReport() has no pace while nothing is copied", () => {
  const expected = {
    doneBytes: 0,
    pendingBytes: 2 * MiB,
    bytesPerSecond: 0,
    remainingSeconds: null,
  };
  for (const mode of ["paused", "detached"] satisfies Mode[]) {
    assertEquals(resyncReport(resyncing(), mode, MiB / 2), expected, mode);
  }
});

Deno.test("verifyStatusReport() has what is compared, what is left and how long that takes", () => {
  const progress = {
    stage: "comparing",
    comparedBytes: 6 * MiB,
    differingBytes: 4096,
    remainingMs: 1,
  } as const;
  const report = verifyStatusReport(progress, {
    deviceSizeBytes: DEVICE_BYTES,
    sinceMs: SINCE_MS,
    nowMs: SINCE_MS + 3000,
  });
  assertEquals(report, {
    stage: "comparing",
    comparedBytes: 6 * MiB,
    pendingBytes: 4 * MiB,
    differingBytes: 4096,
    bytesPerSecond: 2 * MiB,
    remainingSeconds: 2,
  });
});
