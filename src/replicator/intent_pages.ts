// The dirty map's pages outside of the I/O path: at the start, while bits are cleared, for what a
// comparison or a resync wants named, at the stop.

import type { Clock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import type { MapPlace } from "../format/primary_layout.ts";
import type { RegionPage } from "../format/region_map.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import type { KeptMap } from "../primary/dirty_map.ts";
import type { Disk } from "../primary/disk.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";

const LOCK_RETRY_MS = 10;
/** Far beyond any page write of a queue that is alive. */
const LOCK_PATIENCE_MS = 60_000;

/** Writes composed pages, whose locks the caller holds, and makes them durable together. */
export async function writeComposedPages(
  disk: Pick<Disk, "write" | "flush">,
  place: MapPlace,
  { map, pages }: { map: IntentMap; pages: readonly number[] },
): Promise<void> {
  if (pages.length === 0) return;
  for (const page of pages) {
    const copy = map.composedCopy(page);
    const offset = place.offsetBytes + copy * place.copyBytes + page * PAGE_BYTES;
    await disk.write(offset, map.stagedBytes(page));
  }
  await disk.flush();
}

/** What writing the map takes. */
export interface IntentWriting {
  readonly views: SharedViews;
  readonly disk: Pick<Disk, "write" | "flush">;
  readonly place: MapPlace;
  readonly clock: Clock;
}

/** Before anybody else uses the map: brings what the primary holds into the shared memory. */
export function loadIntents(views: SharedViews, loaded: KeptMap): void {
  const map = new IntentMap(views);
  for (const page of loaded.pages) map.load(page);
}

/**
 * Before the queues start: names every region of `pages` on the primary, for certain. For pages that
 * were in doubt - what a copy says that can't be read now it may say later - and for a run that does
 * not keep the map.
 */
export async function declareAllDirty(
  writing: IntentWriting,
  pages: readonly number[],
): Promise<void> {
  await rewrite(writing, pages, (map, page) => map.wantPage(page));
}

/** Names more regions on the primary, for certain: page by page, as the bits of `pages` say. */
export async function declareDirty(
  writing: IntentWriting,
  pages: readonly Pick<RegionPage, "page" | "bits">[],
): Promise<void> {
  for (const { page, bits } of pages) {
    await rewrite(writing, [page], (map) => map.wantRegions(page, bits));
  }
}

/**
 * Names the regions of these blocks on the primary, for certain. The caller sees to it that the cleaner
 * leaves them. `onWritten` follows every page: others may wait for the same one, or to write it.
 */
export async function nameRegionsOf(
  writing: IntentWriting,
  blocks: { readonly firstBlock: number; readonly blocks: number },
  onWritten: () => void,
): Promise<void> {
  const map = new IntentMap(writing.views);
  const regions = new RegionGrid(writing.views.layout);
  const first = regions.firstRegion(blocks.firstBlock);
  const last = regions.lastRegion(blocks.firstBlock + blocks.blocks - 1);
  for (let page = map.require(first, last); page >= 0; page = map.require(first, last)) {
    await rewrite(writing, [page], () => {}).finally(onWritten);
  }
}

/**
 * After a drained stop: no region is dirty. The caller has flushed the primary, and no queue will ever
 * write again.
 */
export async function clearAllIntents(writing: IntentWriting): Promise<void> {
  const map = new IntentMap(writing.views);
  const all = Array.from({ length: map.pages }, (_, page) => page);
  // A page that was never written is empty.
  const pages = all.filter((page) => map.wasWritten(page));
  await rewrite(writing, pages, (map, page) => map.forgetPage(page));
}

async function rewrite(
  { views, disk, place, clock }: IntentWriting,
  pages: readonly number[],
  change: (map: IntentMap, page: number) => void,
): Promise<void> {
  const map = new IntentMap(views);
  const locked: number[] = [];
  try {
    for (const page of pages) {
      await lock(map, page, clock);
      locked.push(page);
      change(map, page);
      map.compose(page);
    }
    await writeComposedPages(disk, place, { map, pages });
    for (const page of pages) map.complete(page);
  } finally {
    for (const page of locked) map.unlock(page);
  }
}

async function lock(map: IntentMap, page: number, clock: Clock): Promise<void> {
  const sinceMs = clock.nowMs();
  while (!map.tryLock(page)) {
    if (clock.nowMs() - sinceMs > LOCK_PATIENCE_MS) {
      throw new ReplicaError("kernel", `Cannot write page ${page} of the dirty map: it is in use`);
    }
    await clock.sleep(LOCK_RETRY_MS);
  }
}
