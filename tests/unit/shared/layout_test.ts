import { GiB, KiB, MiB, TiB } from "../../../src/base/units.ts";
import { REGIONS_PER_PAGE } from "../../../src/format/region_map.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../../src/shared/layout.ts";
import { assert, assertEquals } from "../../support/assert.ts";

const SHAPE = {
  queues: 3,
  depth: 2,
  ioBufBytes: 64 * KiB,
  unitBytes: 4 * KiB,
  poolBytes: 4 * MiB,
  regionBytes: 8 * MiB,
};

Deno.test("the shared areas lie one after the other", () => {
  for (const deviceSizeBytes of [4 * KiB, GiB, 64 * TiB]) {
    const layout = sharedLayout({ ...SHAPE, deviceSizeBytes });
    const views = sharedViews(allocateShared(layout), layout);
    const { words, counters, locks, intent, descriptors } = views;
    const { durable, wanted, touched, sequences, locks: pageLocks, staging } = intent;
    const areas = [words, counters, locks, durable, wanted, touched, sequences, pageLocks];
    let end = 0;
    for (const area of [...areas, staging, descriptors]) {
      assert(area.byteOffset >= end, `an area at ${area.byteOffset} begins after ${end}`);
      end = area.byteOffset + area.byteLength;
    }
    assert(layout.tagBuffersOffset >= end, "tag buffers lie behind");
    assertEquals(staging.byteOffset % 4096, 0);
    assertEquals(staging.length, layout.intentPages * 1024);
    assertEquals(layout.intentPages, Math.ceil(layout.regionCount / REGIONS_PER_PAGE));
  }
});
