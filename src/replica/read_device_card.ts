// The side-car object of a replica, read from its store. Callers: export, inspect.

import {
  decodeDeviceCard,
  DEVICE_CARD_BYTES_MAX,
  DEVICE_CARD_KEY,
  type DeviceCard,
} from "../format/device_card.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";

/** Null for a replica that another tool made; a data error for a card that can't be read. */
export async function readDeviceCard(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<DeviceCard | null> {
  // One byte more than a card may have, so that a longer object is noticed.
  const range = { offset: 0, length: DEVICE_CARD_BYTES_MAX + 1 };
  const body = await store.get(DEVICE_CARD_KEY, { ...options, range });
  return body === null ? null : decodeDeviceCard(body.bytes, DEVICE_CARD_KEY);
}
