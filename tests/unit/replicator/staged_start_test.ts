// What becomes of a resync that was cut short, with the next start cut short, too: at every request to
// the store and at every operation of the primary. Wherever that is, a region that was staged either
// still is, and its segments stand, or is dirty.

import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { MarkedBlocks } from "../../../src/replicator/marked_blocks.ts";
import { markAllBut } from "../../../src/replicator/stale_at_start.ts";
import { StaleMap } from "../../../src/shared/stale_map.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import {
  AT,
  attach,
  copyOf,
  cutEverywhere,
  decisionOf,
  formatted,
  live,
  mapsOf,
  type Place,
} from "../../support/attach_place.ts";
import { batchOf, filled } from "../../support/batches.ts";
import { FailingDisk } from "../../support/failing_disk.ts";

const STAGE = { ...AT, publish: false };
/** Regions 1 and 2. */
const STAGED = Int32Array.of(0b110);

/** After checkpoint 1 segments 3 to 5 are staged; the map speaks of 3 and 4. */
async function cutShort(
  state: "active" | "diverged",
  { isWhole = false } = {},
): Promise<Place> {
  const place = await formatted();
  const { writer } = await live(place, 1, "active");
  for (const block of [256, 512, 600]) await writer.commit(batchOf([[block, filled(7)]]), STAGE);
  assertEquals(writer.stagedId, 5);
  const metadata = await PrimaryMetadata.load(place.disk);
  await metadata.storeSuperblock({ state, writtenMs: 4 });
  const { staged, views } = await mapsOf(place.disk);
  const regions = new Int32Array(views.intent.durable.length);
  regions.set(STAGED);
  const chain = { baseCno: 1, segmentId: 4, wholeCopy: isWhole ? 1 : 0 };
  await staged.add([0], chain, regions);
  return place;
}

/** The start after: what it goes on with, and what it says of regions 0 to 3. */
async function outcome(place: Place, wishes: Parameters<typeof attach>[1] = {}) {
  const dirtyRegions = (await mapsOf(place.disk)).dirty.dirtyCount();
  const attached = await attach(place, { dirtyRegions, ...wishes });
  const { startup, writer, maps: { staged, dirty } } = attached;
  const regions = [0, 1, 2, 3].map((region) =>
    dirty.isDurable(region) ? "dirty" : staged.holds(region) ? "staged" : "-"
  );
  return { action: startup.action, stagedId: writer.stagedId, regions: regions.join(" ") };
}

const GOES_ON = { action: "forward-part", stagedId: 4, regions: "- staged staged -" };
const GIVEN_UP = { action: "forward-part", stagedId: 0, regions: "- dirty dirty -" };
const NONE_DIRTY = { dirtyRegions: 0 };

Deno.test("a resync that was cut short goes on, and what its map does not know of is emptied", async () => {
  const place = await cutShort("active");
  assertEquals(await outcome(place), GOES_ON);
  // And again, with nothing written meanwhile.
  assertEquals(await outcome(place), GOES_ON);
});

Deno.test("whatever cuts the start short, a staged region is staged on the replica, or dirty", async () => {
  const place = await cutShort("active");
  await cutEverywhere(place, NONE_DIRTY, async (left, cut) => {
    const now = await outcome(left);
    // A start that fails gives its claim back: afterwards nobody can tell whose it was.
    if (now.stagedId === 0) assertEquals([now, cut.startsWith("power cut")], [GIVEN_UP, true], cut);
    else assertEquals(now, GOES_ON, cut);
  });
  // Given up, because the operator wants it: a start without that wish may come next.
  await cutEverywhere(place, { ...NONE_DIRTY, force: true }, async (left, cut) => {
    const { stagedId, regions } = await outcome(left);
    const expected = stagedId === 4
      ? ["- staged staged -", "- dirty dirty -"]
      : ["- dirty dirty -"];
    assert(expected.includes(regions), `${cut}: ${stagedId}, ${regions}`);
  });
});

Deno.test("two starts that are cut short break the chain: its regions are dirty, whatever cuts the third", async () => {
  const place = await cutShort("active");
  for (let start = 0; start < 2; start++) {
    place.store.hook = ({ verb, key }) =>
      verb === "list" || key === "0000000004" ? "lost" : undefined;
    assertEquals(await decisionOf(place, NONE_DIRTY), "unavailable");
    place.store.hook = () => undefined;
  }
  assertEquals(await outcome(copyOf(place)), GIVEN_UP);
  await cutEverywhere(place, NONE_DIRTY, async (left, cut) => {
    assertEquals(await outcome(left), GIVEN_UP, cut);
    const again = await outcome(left);
    assertEquals(again.regions, GIVEN_UP.regions, `${cut}, and a start after it`);
  });
});

Deno.test("what another writer may have emptied is not gone on with", async () => {
  const place = await cutShort("active");
  const copy = { ...copyOf(place), store: place.store };
  const { claim } = await attach(copy, { ...NONE_DIRTY, force: true });
  await claim.release();
  const back = await outcome(place, { takeOver: true });
  assertEquals(back, GIVEN_UP);
});

Deno.test("what was staged after an earlier checkpoint is forgotten, and the map emptied", async () => {
  const place = await cutShort("active");
  const { writer } = await attach(place, NONE_DIRTY);
  const { cno } = await writer.commit(batchOf([]), AT);
  const metadata = await PrimaryMetadata.load(place.disk);
  await metadata.appendFlushLog({ cno, timeMs: 1, committedBytes: 1 });
  const next = await attach(place, NONE_DIRTY);
  assertEquals([next.startup.action, next.writer.lastCno], ["attach", 5]);
  assertEquals([next.maps.staged.holds(1), next.maps.dirty.dirtyCount()], [false, 0]);
  assertEquals((await mapsOf(place.disk)).staged.pages[0].staged, null);
});

Deno.test("what was published without a record stays named, whatever cuts the start short", async () => {
  const place = await cutShort("active");
  const { writer } = await attach(place, NONE_DIRTY);
  await writer.commit(batchOf([]), AT);
  assertEquals(await outcome(copyOf(place)), GIVEN_UP);
  await cutEverywhere(place, NONE_DIRTY, async (left, cut) => {
    const { views, staged } = await mapsOf(left.disk);
    const { lastFlush } = await PrimaryMetadata.load(left.disk);
    const marked = new MarkedBlocks(views, staged, lastFlush?.cno ?? 0);
    const again = await outcome(left, { marked });
    assertEquals(again, GIVEN_UP, cut);
  });
});

Deno.test("a copy of the whole device goes on with what such a copy has staged, and nothing else", async () => {
  const whole = await outcome(await cutShort("diverged", { isWhole: true }));
  assertEquals(whole, { ...GOES_ON, action: "forward-full" });
  const part = await outcome(await cutShort("diverged"));
  assertEquals(part, { ...GIVEN_UP, action: "forward-full" });
  const distrusted = await cutShort("diverged", { isWhole: true });
  await (await mapsOf(distrusted.disk)).staged.distrust();
  assertEquals(await outcome(distrusted), { ...GIVEN_UP, action: "forward-full" });
});

Deno.test("markAllBut() leaves out what is copied and was not written since", async () => {
  const { views, dirty } = await mapsOf((await formatted()).disk);
  dirty.wantRegions(0, Uint8Array.of(0b100, ...new Uint8Array(4031)));
  dirty.compose(0);
  dirty.complete(0);
  markAllBut(views, (region) => region === 1 || region === 2);
  const stale = new StaleMap(views);
  const { regionBytes, unitBytes } = views.layout;
  const regions = [0, 1, 2, 3].map((region) => stale.overlaps(region * regionBytes / unitBytes, 1));
  assertEquals(regions, [true, false, true, true]);
});

Deno.test("a page of the staged map that is in doubt makes its regions dirty", async () => {
  const place = await cutShort("active");
  const { staged: map } = await mapsOf(place.disk);
  const { stagedMapOffsetBytes: start } = (await PrimaryMetadata.load(place.disk)).layout;
  assert(start !== null && map.doubtful.size === 0);
  place.disk.faults = [{ kind: "unreadable", offsetBytes: start }];
  const { action, regions } = await outcome(place);
  assertEquals([action, regions], ["forward-part", "dirty dirty dirty dirty"]);
  assertEquals(
    (await mapsOf(new FailingDisk(4 << 20, place.disk.pages()))).staged.doubtful.size,
    0,
  );
});
