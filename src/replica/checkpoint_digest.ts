// What tells two checkpoints of one number apart: a digest of the header of the checkpoint's segment,
// which never changes once the checkpoint is published, and holds its time, its claim's stamp and the
// root of its tree.
//
// The primary's flush log keeps it, so that a start finds out when replica and primary have the same
// number but not the same history - both were restored, say, from copies of different days. That is an
// accident, not an attack: 32 bits are enough.

import { crc32 } from "../format/crc32.ts";
import { SegmentHeader } from "../format/segment.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { fetchSegmentHeader } from "./segment_header.ts";

/** CRC-32 of the first 208 bytes of a segment, which begins with `bytes`: 8 digits in hex. */
export function digestOfSegment(bytes: Uint8Array): string {
  return crc32(bytes.subarray(0, SegmentHeader.size)).toString(16).padStart(8, "0");
}

/** The digest of checkpoint `cno` as it stands in the store; null when there is no such segment. */
export async function readCheckpointDigest(
  store: ObjectStore,
  cno: number,
  options?: RequestOptions,
): Promise<string | null> {
  const body = await fetchSegmentHeader(store, cno, options);
  return body && digestOfSegment(body.bytes);
}
