import { GiB, KiB } from "../../../src/base/units.ts";
import { type DeviceGeometry, deviceParams } from "../../../src/ublk/params.ts";
import {
  UBLK_ATTR_FUA,
  UBLK_ATTR_READ_ONLY,
  UBLK_ATTR_VOLATILE_CACHE,
  UBLK_PARAM_TYPE_BASIC,
  UBLK_PARAM_TYPE_DISCARD,
} from "../../../src/ublk/uapi.ts";
import { assertEquals } from "../../support/assert.ts";

const GEOMETRY: DeviceGeometry = {
  sizeBytes: 10 * GiB,
  logicalBlockBytes: 512,
  physicalBlockBytes: 4096,
  bufferBytes: 512 * KiB,
  readOnly: false,
  rotational: false,
  volatileCache: true,
  zeroing: true,
};

Deno.test("deviceParams() turns sizes into shifts and sectors", () => {
  const params = deviceParams(GEOMETRY);
  assertEquals(params.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD);
  assertEquals([params.logicalBsShift, params.physicalBsShift, params.ioMinShift], [9, 12, 12]);
  assertEquals(params.devSectors, 20 * 2 ** 20);
  assertEquals(params.maxSectors, 1024);
  assertEquals(params.discardGranularity, 4096);
  assertEquals(params.maxDiscardSectors, 512 * 1024);
  assertEquals(params.maxDiscardSegments, 1);
});

Deno.test("deviceParams() advertises a cache only where acknowledged writes may be lost", () => {
  assertEquals(deviceParams(GEOMETRY).attrs, UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
  assertEquals(deviceParams({ ...GEOMETRY, volatileCache: false }).attrs, 0);
});

Deno.test("deviceParams() offers no zeroing on a device that is read-only", () => {
  const params = deviceParams({ ...GEOMETRY, readOnly: true, zeroing: false });
  assertEquals(params.types, UBLK_PARAM_TYPE_BASIC);
  assertEquals(params.attrs & UBLK_ATTR_READ_ONLY, UBLK_ATTR_READ_ONLY);
  assertEquals([params.maxDiscardSectors, params.discardGranularity], [0, 0]);
});
