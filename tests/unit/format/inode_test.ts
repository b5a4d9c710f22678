import { ReplicaError } from "../../../src/base/errors.ts";
import {
  apparentSectors,
  decodeInode,
  geometryOf,
  InodeRecord,
  newInode,
  splitTime,
} from "../../../src/format/inode.ts";
import {
  decodeSegmentHeader,
  parseSegmentKey,
  segmentAreas,
  segmentKey,
} from "../../../src/format/segment.ts";
import { assertEquals, assertThrows } from "../../support/assert.ts";

Deno.test("newInode() takes block sizes and a size", () => {
  const inode = newInode({ createdMs: 1500, sizeBytes: 1000, dataBlockBytes: 65536 });
  assertEquals([inode.metaConfig, inode.size, inode.blocks], [0x070c1002, 1000, 2n]);
  assertEquals([inode.ctime, inode.ctimeNsec], [1n, 500_000_000]);
  assertEquals(geometryOf(inode, "inode"), {
    metaBlockBytes: 4096,
    dataBlockBytes: 65536,
    pointerFormat: 2,
  });
});

Deno.test("decodeInode() tolerates a longer object and refuses a shorter one", () => {
  const raw = InodeRecord.toBytes(newInode({ createdMs: 1 }));
  const longer = new Uint8Array(200);
  longer.set(raw);
  assertEquals(decodeInode(longer, "inode"), decodeInode(raw, "inode"));
  assertThrows(() => decodeInode(raw.subarray(1), "inode"), ReplicaError, "159 bytes of 160");
});

Deno.test("geometryOf() trusts the root's user data, not metaConfig", () => {
  const inode = newInode({ createdMs: 1 });
  inode.metaConfig = 0x070c0c01;
  assertEquals(geometryOf(inode, "inode").pointerFormat, 2);
  inode.bmap[4] = 1;
  assertEquals(geometryOf(inode, "inode").pointerFormat, 1);
});

Deno.test("splitTime() and apparentSectors() round as the format wants", () => {
  assertEquals(splitTime(1_700_000_005_250), { seconds: 1_700_000_005n, nanoseconds: 250_000_000 });
  assertEquals([0, 1, 512, 513].map(apparentSectors), [0n, 1n, 1n, 2n]);
});

Deno.test("segment keys have ten digits, and nothing else is one", () => {
  assertEquals([segmentKey(1), segmentKey(1_073_741_823)], ["0000000001", "1073741823"]);
  const keys = [
    "0000000001",
    "1073741823",
    "1073741824",
    "0000000000",
    "1",
    "inode",
    "00000000001",
  ];
  assertEquals(keys.map(parseSegmentKey), [1, 1_073_741_823, null, null, null, null, null]);
});

Deno.test("segmentAreas() aligns the summary to 4096 whatever the block sizes", () => {
  const sizes = { metaBlockBytes: 16384, dataBlockBytes: 65536 };
  assertEquals(segmentAreas({ ...sizes, metaBlocks: 2, dataBlocks: 243 }), {
    summaryBytes: 4096,
    metaOffset: 4096,
    dataOffset: 4096 + 2 * 16384,
    endOffset: 4096 + 2 * 16384 + 243 * 65536,
  });
  assertEquals(segmentAreas({ ...sizes, metaBlocks: 0, dataBlocks: 244 }).metaOffset, 8192);
});

Deno.test("decodeSegmentHeader() wants magic, number and length to agree", () => {
  assertThrows(() => decodeSegmentHeader(new Uint8Array(208), 1), ReplicaError, "magic 0x0");
  assertThrows(() => decodeSegmentHeader(new Uint8Array(207), 1), ReplicaError, "207 bytes");
});
