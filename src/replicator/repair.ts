// Marks blocks as what the replica lacks, so that resync copies them. As a write that was not captured
// does it: its regions are durable in the dirty map first, so that a crash does not forget them, and
// the change counts as in flight until it is marked, so that the cleaner does not clear them.
// Caller: verify_run.ts.

import { ringReplicator } from "../shared/bell.ts";
import { History } from "../shared/history.ts";
import { IntentMap } from "../shared/intent_map.ts";
import { StaleMap } from "../shared/stale_map.ts";
import { type IntentWriting, nameRegionsOf } from "./intent_pages.ts";
import type { Stretch } from "./primary_digests.ts";

export interface RepairOptions extends IntentWriting {
  readonly wakeQueues: () => void;
}

/** Resolves when all of `stretches` are to be copied, whatever happens from here on. */
export async function markForRepair(
  options: RepairOptions,
  stretches: readonly Stretch[],
): Promise<void> {
  const { views, wakeQueues } = options;
  const map = new IntentMap(views);
  const stale = new StaleMap(views);
  const parity = map.enter(0);
  try {
    for (const stretch of stretches) {
      await nameRegionsOf(options, stretch, wakeQueues);
      stale.mark(stretch.firstBlock, stretch.blocks);
    }
  } finally {
    // Also for the part that was marked when the primary failed.
    if (stale.count() > 0) new History(views).endAtHead();
    map.leave(0, parity);
    ringReplicator(views.words);
  }
}
