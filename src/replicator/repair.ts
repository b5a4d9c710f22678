// Marks blocks as what the replica lacks, so that resync copies them. As a write that was not captured
// does it: its regions are durable in the dirty map first, so that a crash does not forget them, and
// the change counts as in flight until it is marked, so that the cleaner does not clear them.
// Callers: room.ts, for verify.

import type { Clock } from "../base/clock.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import type { Disk } from "../primary/disk.ts";
import { ringReplicator } from "../shared/bell.ts";
import { History } from "../shared/history.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { writeWantedPage } from "./intent_pages.ts";
import type { Stretch } from "./primary_digests.ts";

export interface RepairOptions {
  readonly views: SharedViews;
  readonly disk: Disk;
  readonly place: MapPlace;
  readonly clock: Clock;
  readonly wakeQueues: () => void;
}

/** Resolves when all of `stretches` are to be copied, whatever happens from here on. */
export async function markForRepair(
  options: RepairOptions,
  stretches: readonly Stretch[],
): Promise<void> {
  const { views, wakeQueues } = options;
  const regions = new RegionGrid(views.layout);
  const map = new IntentMap(views);
  const stale = new StaleMap(views);
  const parity = map.enter(0);
  try {
    for (const { firstBlock, blocks } of stretches) {
      const first = regions.firstRegion(firstBlock);
      const last = regions.lastRegion(firstBlock + blocks - 1);
      for (let page = map.require(first, last); page >= 0; page = map.require(first, last)) {
        // Others may wait for the same page, or to write it themselves.
        await writeWantedPage(options, page).finally(wakeQueues);
      }
      stale.mark(firstBlock, blocks);
    }
  } finally {
    // Also for the part that was marked when the primary failed.
    if (stale.count() > 0) new History(views).endAtHead();
    map.leave(0, parity);
    ringReplicator(views.words);
  }
}
