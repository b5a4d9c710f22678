// The side-car object of a replica, read from its store. Callers: export, inspect, attaching.

import {
  decodeDeviceCard,
  DEVICE_CARD_BYTES_MAX,
  DEVICE_CARD_KEY,
  type DeviceCard,
  sameDevice,
  type StoredCard,
} from "../format/device_card.ts";
import { dataError } from "../base/errors.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";

/** A card, and the etag under which it may be replaced. */
export interface FoundCard {
  readonly card: StoredCard;
  readonly etag: string;
}

/** Null for a replica that another tool made; a data error for a card that can't be read. */
export async function readDeviceCard(
  store: ObjectStore,
  options: RequestOptions = {},
): Promise<StoredCard | null> {
  return (await findDeviceCard(store, options))?.card ?? null;
}

async function findDeviceCard(
  store: ObjectStore,
  { signal }: RequestOptions,
): Promise<FoundCard | null> {
  // One byte more than a card may have, so that a longer object is noticed.
  const range = { offset: 0, length: DEVICE_CARD_BYTES_MAX + 1 };
  const body = await store.get(DEVICE_CARD_KEY, { signal, range });
  if (body === null) return null;
  return { card: decodeDeviceCard(body.bytes, DEVICE_CARD_KEY), etag: body.etag };
}

/** Throws a data error unless the replica is the one that `device` was formatted with. */
export async function requireDeviceCard(
  store: ObjectStore,
  device: DeviceCard,
  options: RequestOptions = {},
): Promise<FoundCard> {
  const found = await findDeviceCard(store, options);
  if (found !== null && sameDevice(found.card, device)) return found;
  const why = found === null
    ? `it has no ${DEVICE_CARD_KEY}, so it was not made for a device`
    : found.card.uuid !== device.uuid
    ? `its ${DEVICE_CARD_KEY} names device ${found.card.uuid}`
    : `its ${DEVICE_CARD_KEY} and the primary's superblock disagree`;
  throw dataError(`Cannot attach the replica ${store.uri}: ${why}`, {
    hint: "Give the replica_uri that format printed for this primary.",
  });
}
