// The flush log: which checkpoints of the replica this primary knows to be committed, newest last.
// A record is appended after the replica's inode was replaced (commit order R12), so the newest
// record is at most one commit behind the replica after a crash.
//
// Invariants:
// - Record n lies in slot n mod 16: a torn or lost append costs that one record, and the 15 records
//   before it stay readable. The valid record with the highest sequence is the last one.
// - A record names its device: what an earlier format left behind is not read as ours.
//
// Pure. Callers: src/primary/metadata.ts (append, load), inspect.

import { dataError } from "../base/errors.ts";
import { bytes, size64, struct, text, type ValuesOf, zero } from "../base/struct.ts";
import { uuidFromBytes, uuidToBytes } from "../base/uuid.ts";
import {
  PAGE_BYTES,
  PAGE_HEAD,
  type PageKind,
  type PageVerdict,
  readPage,
  sealPage,
} from "./sealed_page.ts";

export const FLUSH_LOG_SLOTS = 16;
export const FLUSH_LOG_BYTES = FLUSH_LOG_SLOTS * PAGE_BYTES;
/** Longest etag in UTF-8 bytes. */
export const ETAG_BYTES_MAX = 128;

export const FLUSH_RECORD_KIND: PageKind = { magic: "IOREPLFL", version: 1 };

export const FlushRecordLayout = struct("FlushRecord", PAGE_BYTES, {
  ...PAGE_HEAD,
  uuid: bytes(16),
  /** Number of the checkpoint; its segment has the same number. */
  cno: size64,
  /** Operations that the daemon had committed before this commit; for people only. */
  ringPosition: size64,
  /** Bytes that the commit wrote to the replica. */
  committedBytes: size64,
  /** When the replica acknowledged the commit, milliseconds since the epoch. */
  timeMs: size64,
  /** For the writer's epoch (R13). */
  reservedWriter: zero(16),
  /** Etag of the replica's inode after the commit; for people only. */
  inodeEtag: text(ETAG_BYTES_MAX),
  /** Tells the checkpoint from another one of its number: see replica/checkpoint_digest.ts. Empty: not known. */
  checkpointDigest: text(ETAG_BYTES_MAX),
  reserved: zero(3752),
});

type Values = ValuesOf<typeof FlushRecordLayout>;

export interface FlushRecord
  extends Omit<Values, "magic" | "checksum" | "version" | "uuid" | "sequence"> {
  readonly uuid: string;
  /** 1 for the first record of a device. */
  readonly sequence: number;
}

/** The slot of the record with this sequence. */
export function flushLogSlot(sequence: number): number {
  return sequence % FLUSH_LOG_SLOTS;
}

export function encodeFlushRecord(record: FlushRecord): Uint8Array<ArrayBuffer> {
  const page = FlushRecordLayout.toBytes({
    ...record,
    magic: new Uint8Array(8),
    checksum: 0,
    version: 0,
    uuid: uuidToBytes(record.uuid),
  });
  sealPage(page, FLUSH_RECORD_KIND, record.sequence);
  return page;
}

/** Judges one slot; never throws on what the bytes are. */
export function decodeFlushRecord(page: Uint8Array, slot: number): PageVerdict<FlushRecord> {
  return readPage(page, FLUSH_RECORD_KIND, FlushRecordLayout, (values) => {
    const { magic: _magic, checksum: _checksum, version: _version, ...rest } = values;
    if (flushLogSlot(values.sequence) !== slot || values.sequence === 0) {
      throw dataError(
        `Cannot read FlushRecord: sequence ${values.sequence} is not of slot ${slot}`,
      );
    }
    return { ...rest, uuid: uuidFromBytes(values.uuid) };
  });
}

/** Judges all slots in order; null stands for one that can't be read from the disk. */
export function decodeFlushLog(pages: readonly (Uint8Array | null)[]): PageVerdict<FlushRecord>[] {
  return pages.map((page, slot) =>
    page === null ? { kind: "damaged", reason: "can't be read" } : decodeFlushRecord(page, slot)
  );
}

/** The pages of the slots of a whole flush log area, in order. */
export function flushLogPages(area: Uint8Array): Uint8Array[] {
  return Array.from(
    { length: FLUSH_LOG_SLOTS },
    (_, slot) => area.subarray(slot * PAGE_BYTES, (slot + 1) * PAGE_BYTES),
  );
}

/** The valid records of a device, oldest first. Other devices' and damaged ones are passed over. */
export function flushHistory(slots: readonly PageVerdict<FlushRecord>[], uuid: string) {
  return slots
    .flatMap((slot) => slot.kind === "valid" && slot.value.uuid === uuid ? [slot.value] : [])
    .sort((a, b) => a.sequence - b.sequence);
}

/** What a record can hold of an etag: one that is too long is left out, as unknown. */
export function recordableEtag(etag: string | undefined): string {
  return etag === undefined || etag.length > ETAG_BYTES_MAX ? "" : etag;
}
