// Which blocks the primary's maps name, at the start: those of which the replica may lack something, or has
// it in a staged segment only.
//
// A mark goes only after the record of the checkpoint that has the region's writes (committer.ts releases
// what the cleaner waits for after the record). So what a checkpoint without a record holds is marked; a
// block of it that is not was written by a run that this primary knows nothing of.
//
// Caller: room.ts, for attaching.

import { REGIONS_PER_PAGE, testRegion } from "../format/region_map.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import type { StagedMap } from "./staged_map.ts";

export class MarkedBlocks {
  readonly #dirty: IntentMap;
  readonly #staged: StagedMap | null;
  readonly #grid: RegionGrid;

  /** `staged`: null where the primary has no such map. */
  constructor(views: SharedViews, staged: StagedMap | null) {
    this.#dirty = new IntentMap(views);
    this.#staged = staged;
    this.#grid = new RegionGrid(views.layout);
  }

  /** Whether each region that `block` touches is named. */
  has(block: number): boolean {
    const last = this.#grid.lastRegion(block);
    for (let region = this.#grid.firstRegion(block); region <= last; region++) {
      if (!this.#dirty.isDurable(region) && !this.#isStaged(region)) return false;
    }
    return true;
  }

  #isStaged(region: number): boolean {
    const page = this.#staged?.pages[Math.floor(region / REGIONS_PER_PAGE)];
    return page !== undefined && testRegion(page.bits, region % REGIONS_PER_PAGE);
  }
}
