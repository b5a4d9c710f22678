// The quorum table is a picture: each row shows what lies in the two copies and the verdict.

import fc from "fast-check";
import { assert, assertEquals } from "../../support/assert.ts";
import {
  chooseSuperblock,
  decodeSuperblock,
  encodeSuperblock,
  PRIMARY_STATES,
  type PrimaryState,
  type Superblock,
  SUPERBLOCK_KIND,
  SuperblockRecord,
} from "../../../src/format/superblock.ts";
import { PAGE_BYTES, sealPage } from "../../../src/format/sealed_page.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { uuidFromBytes } from "../../../src/base/uuid.ts";

const UUID = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidFromBytes)
  .filter((uuid) => !uuid.startsWith("00000000-0000-0000"));
const SAMPLE: Superblock = {
  sequence: 7,
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  primarySizeBytes: 2 ** 40,
  deviceSizeBytes: 2 ** 40 - 2 ** 20,
  regionBytes: 8 << 20,
  metaBlockBytes: 4096,
  dataBlockBytes: 65536,
  state: "active",
  hasStagedMap: true,
  createdMs: 1_700_000_000_123,
  writtenMs: 1_700_000_000_456,
  claim: {
    stage: "held",
    epoch: 3,
    id: "0b5c6d7e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
    previousId: null,
    heldEpoch: 3,
  },
  replicaRoot: `s3://bucket/größe/${"x".repeat(600)}`,
};

Deno.test("encodeSuperblock() round-trips any superblock", () => {
  const any = fc.record({
    sequence: fc.maxSafeNat(),
    uuid: UUID,
    primarySizeBytes: fc.maxSafeNat(),
    deviceSizeBytes: fc.maxSafeNat(),
    regionBytes: fc.maxSafeNat(),
    metaBlockBytes: fc.integer({ min: 12, max: 30 }).map((n) => 2 ** n),
    dataBlockBytes: fc.integer({ min: 12, max: 30 }).map((n) => 2 ** n),
    state: fc.constantFrom(...Object.keys(PRIMARY_STATES) as PrimaryState[]),
    hasStagedMap: fc.boolean(),
    createdMs: fc.maxSafeNat(),
    writtenMs: fc.maxSafeNat(),
    claim: fc.option(fc.record({
      stage: fc.constantFrom("claiming", "held"),
      epoch: fc.maxSafeNat(),
      id: UUID,
      previousId: fc.option(UUID),
      heldEpoch: fc.maxSafeNat(),
    }, { noNullPrototype: true })),
    replicaRoot: fc.string({ unit: "grapheme-ascii", maxLength: 1024 }),
  }, { noNullPrototype: true });
  fc.assert(fc.property(any, (superblock) => {
    assertEquals(decodeSuperblock(encodeSuperblock(superblock)), {
      kind: "valid",
      value: superblock,
    });
  }));
});

Deno.test("decodeSuperblock() notices any flipped bit", () => {
  const page = encodeSuperblock(SAMPLE);
  fc.assert(
    fc.property(fc.nat(PAGE_BYTES * 8 - 1), (bit) => {
      const rotten = page.slice();
      rotten[bit >>> 3] ^= 1 << (bit & 7);
      const expected = bit < 64 ? "absent" : "damaged";
      assertEquals(decodeSuperblock(rotten).kind, expected);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("decodeSuperblock() notices a page torn at any sector", () => {
  const before = encodeSuperblock(SAMPLE);
  const after = encodeSuperblock({
    ...SAMPLE,
    sequence: 8,
    writtenMs: 1,
    replicaRoot: "s3://other/" + "x".repeat(900),
  });
  for (let sector = 512; sector < 1024; sector += 512) {
    const torn = after.slice();
    torn.set(before.subarray(sector), sector);
    assertEquals(decodeSuperblock(torn).kind, "damaged", `${sector}`);
  }
});

Deno.test("decodeSuperblock() does not believe impossible values under a right checksum", () => {
  const rows: [string, (view: DataView) => void][] = [
    ["state", (view) => view.setUint32(SuperblockRecord.offset.state, 9, true)],
    ["features", (view) => view.setUint32(SuperblockRecord.offset.features, 2, true)],
    ["dataBlockBytes", (view) => view.setUint32(SuperblockRecord.offset.dataBlockBytes, 512, true)],
    ["metaBlockBytes", (view) => view.setUint32(SuperblockRecord.offset.metaBlockBytes, 0, true)],
    ["reserved", (view) => view.setUint8(SuperblockRecord.offset.reservedRestore, 1)],
    ["2^53", (view) => view.setUint8(SuperblockRecord.offset.deviceSizeBytes + 7, 1)],
  ];
  for (const [part, spoil] of rows) {
    const page = encodeSuperblock(SAMPLE);
    spoil(viewOf(page));
    sealPage(page, SUPERBLOCK_KIND, SAMPLE.sequence);
    const verdict = decodeSuperblock(page);
    assert(verdict.kind === "damaged" && verdict.reason.includes(part), part);
  }
});

const OTHER = "11111111-2222-4333-8444-555555555555";

/** The copies of the picture. A name is <identity><sequence>, or a state of the page. */
function copy(name: string): Uint8Array {
  if (name === "zero") return new Uint8Array(PAGE_BYTES);
  if (name === "junk") return new Uint8Array(PAGE_BYTES).fill(0x5a);
  const sequence = Number(name.slice(1, 2));
  const uuid = name.startsWith("a") ? SAMPLE.uuid : OTHER;
  const page = encodeSuperblock({ ...SAMPLE, uuid, sequence });
  if (name.endsWith("torn")) page.fill(0, 512);
  if (name.endsWith("alt")) return encodeSuperblock({ ...SAMPLE, sequence, state: "clean" });
  if (name.endsWith("v2")) {
    sealPage(page, { ...SUPERBLOCK_KIND, version: SUPERBLOCK_KIND.version + 1 }, sequence);
  }
  return page;
}

Deno.test("chooseSuperblock() decides every pair of copies as pictured", () => {
  const picture = `
    zero   zero   -> absent
    zero   junk   -> absent
    junk   junk   -> absent
    a7     a7     -> a7 copy 0, redundant
    a7     a8     -> a8 copy 1
    a8     a7     -> a8 copy 0
    a9     a7     -> a9 copy 0
    a7     zero   -> a7 copy 0
    zero   a7     -> a7 copy 1
    a7     junk   -> a7 copy 0
    a7     a8torn -> a7 copy 0
    a8torn a7     -> a7 copy 1
    zero   a7torn -> damaged
    a7torn a7torn -> damaged
    a8torn a7torn -> damaged
    a7     a7alt  -> conflict
    a7     a8alt  -> a8 copy 1
    a7     b7     -> conflict
    a7     b9     -> conflict
    b9     a7     -> conflict
    b9     a7torn -> b9 copy 0
    a7v2   a7     -> unsupported
    a7     a8v2   -> unsupported
    a8     a7v2   -> unsupported
    a8v2   zero   -> unsupported
    a8v2   a7torn -> unsupported
  `;
  const rows = picture.trim().split("\n").map((row) => row.trim());
  for (const row of rows) {
    const [, first, second, expected] = /^(\S+) +(\S+) +-> (.+)$/.exec(row)!;
    const verdict = chooseSuperblock([copy(first), copy(second)]);
    const name = verdict.kind !== "valid" ? verdict.kind : [
      `${verdict.superblock.uuid === SAMPLE.uuid ? "a" : "b"}${verdict.superblock.sequence}`,
      ` copy ${verdict.winner}${verdict.redundant ? ", redundant" : ""}`,
    ].join("");
    assertEquals(name, expected, row);
  }
});
