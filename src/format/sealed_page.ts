// The 4 KiB page: the unit in which metadata is written to a primary. Every kind of page (superblock,
// flush record, region map page) begins with the same four fields, so that a page can be told whole,
// torn, foreign or from a later version before anything else in it is believed.
//
// Invariants:
// - The checksum is the CRC-32 (IEEE) of the whole page with the checksum field taken as 0: a page
//   whose sectors are not all of the same write is never read as valid.
// - Magic, checksum, version and sequence keep their places in every later version, so that an old
//   program recognises a new page as new instead of as damage.
//
// Pure. Callers: the records of this folder.

import { ReplicaError } from "../base/errors.ts";
import { bytes, size64, type Struct, struct, u32, type ValuesOf, viewOf } from "../base/struct.ts";
import { invariant } from "../base/assert.ts";
import { crc32 } from "./crc32.ts";

/** Bytes of a metadata page, and the alignment of every metadata offset. */
export const PAGE_BYTES = 4096;

/** The first fields of every record that fills a page. */
export const PAGE_HEAD = {
  magic: bytes(8),
  checksum: u32,
  version: u32,
  sequence: size64,
} as const;

/** The common beginning of a page, for code that does not know its kind. */
export const PageHead = struct("PageHead", 24, PAGE_HEAD);

export interface PageKind {
  /** Eight ASCII characters. */
  readonly magic: string;
  readonly version: number;
}

/**
 * What a page turned out to be.
 * - `absent`: does not carry the magic: never written, or something else's bytes.
 * - `damaged`: carries the magic and can't be believed: torn, rotten or impossible values.
 * - `unsupported`: whole, of another format version.
 */
export type PageVerdict<T> =
  | { readonly kind: "absent" }
  | { readonly kind: "damaged"; readonly reason: string }
  | { readonly kind: "unsupported"; readonly version: number; readonly sequence: number }
  | { readonly kind: "valid"; readonly value: T };

const ZEROES = new Uint8Array(4);

function checksumOf(page: Uint8Array): number {
  const start = PageHead.offset.checksum;
  const end = start + ZEROES.length;
  return crc32(page.subarray(end), crc32(ZEROES, crc32(page.subarray(0, start))));
}

/** Writes magic, version, sequence and, last, the checksum into an otherwise filled page. */
export function sealPage(page: Uint8Array, kind: PageKind, sequence: number): void {
  invariant(page.length === PAGE_BYTES, "a page is written whole");
  const magic = new TextEncoder().encode(kind.magic);
  const view = viewOf(page);
  PageHead.encode(view, 0, { magic, version: kind.version, sequence, checksum: 0 });
  view.setUint32(PageHead.offset.checksum, checksumOf(page), true);
}

/** Judges a page read from a primary. Never throws on what the bytes are. */
export function openPage(page: Uint8Array, kind: PageKind): PageVerdict<null> {
  invariant(page.length === PAGE_BYTES, "a page is read whole");
  const magic = new TextEncoder().encode(kind.magic);
  if (magic.some((byte, i) => page[i] !== byte)) return { kind: "absent" };
  const view = viewOf(page);
  const stored = view.getUint32(PageHead.offset.checksum, true);
  const computed = checksumOf(page);
  if (stored !== computed) {
    const [a, b] = [stored, computed].map((n) => n.toString(16).padStart(8, "0"));
    return { kind: "damaged", reason: `checksum ${a} does not match the bytes (${b})` };
  }
  return judged(() => {
    const { version, sequence } = PageHead.decode(view);
    if (version !== kind.version) return { kind: "unsupported", version, sequence };
    return { kind: "valid", value: null };
  });
}

/** Judges and decodes a page whose record fills it; `check` says what is impossible about values. */
// deno-lint-ignore no-explicit-any -- any record that starts with PAGE_HEAD
export function readPage<S extends Struct<any>, T>(
  page: Uint8Array,
  kind: PageKind,
  record: S,
  check: (values: ValuesOf<S>) => T,
): PageVerdict<T> {
  const opened = openPage(page, kind);
  if (opened.kind !== "valid") return opened;
  return judged(() => ({
    kind: "valid",
    value: check(record.decode(viewOf(page)) as ValuesOf<S>),
  }));
}

function judged<T>(judge: () => PageVerdict<T>): PageVerdict<T> {
  try {
    return judge();
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    return { kind: "damaged", reason: error.message };
  }
}
