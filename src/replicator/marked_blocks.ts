// Which blocks the primary's maps name, at the start: those of which the replica may lack something, or has
// it in a segment only that is staged after the newest checkpoint on record. Pages of the staged map that
// speak of an earlier chain name nothing: that was published.
//
// A resync copies the regions that are named, rounded outwards to whole chunks of the stale map: a block that
// shares a chunk with a named region may have been copied for it, and is copied again. No other block is: to
// count it as named, because its neighbours are, would leave it as the replica has it.
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
import { StaleMap } from "../shared/stale_map.ts";
import type { StagedMap } from "./staged_map.ts";

export class MarkedBlocks {
  readonly #dirty: IntentMap;
  readonly #staged: StagedMap | null;
  readonly #grid: RegionGrid;
  readonly #recordedCno: number;
  readonly #lastBlock: number;
  readonly #chunkBlocks: number;

  /** `staged`: null where the primary has no such map; `recordedCno`: the newest checkpoint on record. */
  constructor(views: SharedViews, staged: StagedMap | null, recordedCno: number) {
    this.#recordedCno = recordedCno;
    this.#lastBlock = views.layout.deviceBlocks - 1;
    this.#chunkBlocks = new StaleMap(views).chunkBlocks;
    this.#dirty = new IntentMap(views);
    this.#staged = staged;
    this.#grid = new RegionGrid(views.layout);
  }

  /** Whether any region that the chunk of `block` touches is named. */
  has(block: number): boolean {
    const start = block - block % this.#chunkBlocks;
    const end = Math.min(start + this.#chunkBlocks - 1, this.#lastBlock);
    const last = this.#grid.lastRegion(end);
    for (let region = this.#grid.firstRegion(start); region <= last; region++) {
      if (this.#dirty.isDurable(region) || this.#isStaged(region)) return true;
    }
    return false;
  }

  #isStaged(region: number): boolean {
    const map = this.#staged;
    const page = map?.pages[Math.floor(region / REGIONS_PER_PAGE)];
    if (!map || !page) return false;
    const counts = map.doubtful.has(page.page) || page.staged?.baseCno === this.#recordedCno;
    return counts && testRegion(page.bits, region % REGIONS_PER_PAGE);
  }
}
