import fc from "fast-check";
import { assertEquals } from "../../support/assert.ts";
import {
  decodeFlushLog,
  decodeFlushRecord,
  encodeFlushRecord,
  FLUSH_LOG_BYTES,
  FLUSH_LOG_SLOTS,
  flushHistory,
  flushLogPages,
  flushLogSlot,
  type FlushRecord,
} from "../../../src/format/flush_log.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import { uuidFromBytes } from "../../../src/base/uuid.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";

function record(sequence: number, uuid = UUID): FlushRecord {
  return {
    sequence,
    uuid,
    cno: sequence + 100,
    ringPosition: sequence * 1000,
    committedBytes: 12345,
    timeMs: 1_700_000_000_000,
    inodeEtag: `"inode-${sequence}"`,
    checkpointDigest: `digest-${sequence}`,
  };
}

/** The area after appending the records 1 to `last`, as an appender would leave it. */
function logOf(last: number): Uint8Array {
  const area = new Uint8Array(FLUSH_LOG_BYTES);
  for (let n = 1; n <= last; n++) area.set(encodeFlushRecord(record(n)), slotOffset(n));
  return area;
}

function slotOffset(sequence: number): number {
  return flushLogSlot(sequence) * PAGE_BYTES;
}

function sequences(area: Uint8Array): number[] {
  return flushHistory(decodeFlushLog(flushLogPages(area)), UUID).map(({ sequence }) => sequence);
}

Deno.test("encodeFlushRecord() round-trips any record in its slot", () => {
  const etag = fc.string({ unit: "grapheme-ascii", maxLength: 128 });
  const any = fc.record({
    sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidFromBytes),
    cno: fc.maxSafeNat(),
    ringPosition: fc.maxSafeNat(),
    committedBytes: fc.maxSafeNat(),
    timeMs: fc.maxSafeNat(),
    inodeEtag: etag,
    checkpointDigest: etag,
  }, { noNullPrototype: true });
  fc.assert(fc.property(any, (value) => {
    const verdict = decodeFlushRecord(encodeFlushRecord(value), flushLogSlot(value.sequence));
    assertEquals(verdict, { kind: "valid", value });
  }));
});

Deno.test("flushHistory() keeps the last 16 records in order however often the log went round", () => {
  for (const last of [0, 1, 5, 15, 16, 17, 31, 32, 33, 100]) {
    const first = Math.max(1, last - FLUSH_LOG_SLOTS + 1);
    const expected = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    assertEquals(sequences(logOf(last)), last === 0 ? [] : expected, `${last}`);
  }
});

Deno.test("flushHistory() loses only the record whose append was torn", () => {
  const area = logOf(20);
  const torn = encodeFlushRecord(record(21));
  area.set(torn.subarray(0, 100), slotOffset(21));
  assertEquals(decodeFlushLog(flushLogPages(area))[flushLogSlot(21)].kind, "damaged");
  assertEquals(sequences(area).at(-1), 20);
  assertEquals(sequences(area).length, 15);
});

Deno.test("flushHistory() passes over another device's records and misplaced ones", () => {
  const area = logOf(3);
  const foreign = "11111111-2222-4333-8444-555555555555";
  area.set(encodeFlushRecord(record(9, foreign)), slotOffset(9));
  area.set(encodeFlushRecord(record(10)), slotOffset(11));
  assertEquals(decodeFlushLog(flushLogPages(area))[11].kind, "damaged");
  assertEquals(sequences(area), [1, 2, 3]);
});
