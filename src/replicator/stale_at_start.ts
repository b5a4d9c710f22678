// What is stale when a device starts: in which places primary and replica may differ. Resync copies it
// while the device is in use. Callers: room.ts.

import type { DeviceData } from "../primary/device_data.ts";
import { IntentMap } from "../shared/intent_map.ts";
import type { SharedViews } from "../shared/layout.ts";
import { RegionGrid } from "../shared/region_grid.ts";
import { StaleMap } from "../shared/stale_map.ts";

/** The regions that the primary's dirty map names. */
export function markDirtyRegions(views: SharedViews): void {
  const map = new IntentMap(views);
  const mark = regionMarker(views);
  for (let region = map.nextDurable(0); region >= 0; region = map.nextDurable(region + 1)) {
    mark(region);
  }
}

/** Everything but the regions that an unfinished copy of the device has put on the replica already. */
export function markAllBut(views: SharedViews, isCopied: (region: number) => boolean): void {
  const map = new IntentMap(views);
  const mark = regionMarker(views);
  for (let region = 0; region < views.layout.regionCount; region++) {
    if (map.isDurable(region) || !isCopied(region)) mark(region);
  }
}

function regionMarker(views: SharedViews): (region: number) => void {
  const regions = new RegionGrid(views.layout);
  const stale = new StaleMap(views);
  return (region) => {
    const first = regions.firstBlock(region);
    stale.mark(first, regions.endBlock(region) - first);
  };
}

/** Everything; on an empty replica what reads as zeros without looking is there already. */
export function markDevice(
  views: SharedViews,
  data: Pick<DeviceData, "nextData">,
  { replicaIsEmpty }: { replicaIsEmpty: boolean },
): void {
  const { unitBytes, deviceBlocks } = views.layout;
  const stale = new StaleMap(views);
  if (!replicaIsEmpty) {
    stale.mark(0, deviceBlocks);
    return;
  }
  for (let span = data.nextData(0); span !== null; span = data.nextData(span.endBytes)) {
    const first = Math.floor(span.startBytes / unitBytes);
    const end = Math.min(deviceBlocks, Math.ceil(span.endBytes / unitBytes));
    stale.mark(first, end - first);
  }
}
