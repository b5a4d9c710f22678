// Which blocks the primary's maps name, at the start: those of which the replica may lack something, or has
// it in a segment only that is staged after the newest checkpoint on record. Pages of the staged map that
// speak of an earlier chain name nothing: that was published.
//
// What a resync copies lies in regions that are named, rounded outwards to whole blocks and to chunks of
// the stale map. So a block counts as named where any region within a chunk of it is.
//
// A mark goes only after the record of the checkpoint that has the region's writes (committer.ts releases
// what the cleaner waits for after the record). So what a checkpoint without a record holds is marked; a
// block of it that is not was written by a run that this primary knows nothing of.
//
// Caller: room.ts, for attaching.

import { REGIONS_PER_PAGE, testRegion } from "../format/region_map.ts";
import { IntentMap } from "../shared/intent_map.ts";
import { CHUNK_BYTES_MAX, type SharedViews } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import type { StagedMap } from "./staged_map.ts";

export class MarkedBlocks {
  readonly #dirty: IntentMap;
  readonly #staged: StagedMap | null;
  readonly #grid: RegionGrid;
  readonly #recordedCno: number;
  readonly #lastRegion: number;
  /** A chunk that a block lies in reaches at most so many blocks further. */
  readonly #aroundBlocks: number;

  /** `staged`: null where the primary has no such map; `recordedCno`: the newest checkpoint on record. */
  constructor(views: SharedViews, staged: StagedMap | null, recordedCno: number) {
    const { regionCount, unitBytes } = views.layout;
    this.#recordedCno = recordedCno;
    this.#lastRegion = regionCount - 1;
    this.#aroundBlocks = Math.max(1, CHUNK_BYTES_MAX / unitBytes) - 1;
    this.#dirty = new IntentMap(views);
    this.#staged = staged;
    this.#grid = new RegionGrid(views.layout);
  }

  /** Whether any region that a chunk around `block` may touch is named. */
  has(block: number): boolean {
    const first = this.#grid.firstRegion(Math.max(0, block - this.#aroundBlocks));
    const last = Math.min(this.#grid.lastRegion(block + this.#aroundBlocks), this.#lastRegion);
    for (let region = first; region <= last; region++) {
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
