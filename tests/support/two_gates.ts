// Two queues' gates in front of a map of two pages, whose page writes complete when the test says so.

import { emptyRegionPage, REGIONS_PER_PAGE } from "../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { IntentGate } from "../../src/queue/intent_gate.ts";
import { loadIntents } from "../../src/replicator/intent_pages.ts";
import { Doorbells } from "../../src/shared/doorbells.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../src/shared/layout.ts";
import { ENTRY_DATA, Pool } from "../../src/shared/pool.ts";
import { assertEquals } from "./assert.ts";

const UNIT = 4096;
const DEPTH = 8;
const STAGE = 6;
export const PLACE = { offsetBytes: 2 ** 40, copyBytes: 2 * PAGE_BYTES };
const REGIONS = REGIONS_PER_PAGE + 10;

export function twoGates() {
  const layout = sharedLayout({
    queues: 2,
    depth: DEPTH,
    ioBufBytes: UNIT,
    unitBytes: UNIT,
    poolBytes: 64 * UNIT,
    regionBytes: UNIT,
    deviceSizeBytes: REGIONS * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const counts = [REGIONS_PER_PAGE, 10];
  const pages = counts.map((regionCount, page) =>
    emptyRegionPage({
      uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
      map: "dirty",
      page,
      regionCount,
    })
  );
  loadIntents(views, { pages, doubtful: [] });
  const rung: number[] = [];
  const doorbells = new Doorbells(views, [0, 1], (fd) => rung.push(fd));
  const writes: string[] = [];
  const gates = [0, 1].map((qid) => {
    const offsetBytes = new Float64Array(DEPTH);
    const queue = {
      offsetBytes,
      writePage(tag: number, stage: number, page: number) {
        assertEquals(stage, STAGE);
        const place = (offsetBytes[tag] - PLACE.offsetBytes) / PAGE_BYTES;
        writes.push(`q${qid} tag ${tag} page ${page} at ${place}`);
      },
    };
    return new IntentGate({ qid, queue, views, doorbells, dirtyMap: PLACE, stage: STAGE });
  });
  const pool = new Pool(views);
  /** A change of a region on the first queue, from the gate to its place in the ring. */
  function change(tag: number, region: number): void {
    const [gate] = gates;
    if (!gate.pass(tag, region, region)) {
      gate.written(tag, PAGE_BYTES);
      gate.retryFront();
    }
    pool.reserve(1);
    pool.publish(pool.reservedAt, ENTRY_DATA, region, 1);
  }
  /** What has happened since it was last asked. */
  const seen = (): [string[], number[]] => [writes.splice(0), rung.splice(0)];
  return { gates, map: new IntentMap(views), views, pool, change, seen };
}
