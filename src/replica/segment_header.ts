// A segment's header as it stands in the store: the first 208 bytes of the object, fetched alone.

import {
  decodeSegmentHeader,
  SegmentHeader,
  type SegmentHeaderValues,
  segmentKey,
} from "../format/segment.ts";
import type { ObjectBody, ObjectStore, RequestOptions } from "./object_store.ts";

/** The bytes of a header, unchecked, and the size of their segment; null: there is no such segment. */
export async function fetchSegmentHeader(
  store: ObjectStore,
  segmentId: number,
  options?: RequestOptions,
): Promise<ObjectBody | null> {
  const range = { offset: 0, length: SegmentHeader.size };
  return await store.get(segmentKey(segmentId), { ...options, range });
}

export interface StoredSegment {
  readonly header: SegmentHeaderValues;
  /** Of the whole object. */
  readonly sizeBytes: number;
}

/** Null: there is no such segment. A `data` error where its header is no good. */
export async function readSegmentHeader(
  store: ObjectStore,
  segmentId: number,
  options?: RequestOptions,
): Promise<StoredSegment | null> {
  const body = await fetchSegmentHeader(store, segmentId, options);
  return body && { header: decodeSegmentHeader(body.bytes, segmentId), sizeBytes: body.size };
}
