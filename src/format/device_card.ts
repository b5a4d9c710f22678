// The side-car object of a replica, `device.json`: which device the replica belongs to and how it was
// formatted. Its name is no number, so other Hyperfile tools pass over it; replicas written by them
// have none.
//
// Unknown members are kept: later versions add the writer's epoch and identity (R13).
// Pure. Callers: src/replica/new_replica.ts, attach, inspect, export.

import { dataError } from "../base/errors.ts";
import { isUuid } from "../base/uuid.ts";

export const DEVICE_CARD_KEY = "device.json";
/** A greater object is not ours. */
export const DEVICE_CARD_BYTES_MAX = 64 * 1024;
const FORMAT = 1;

export interface DeviceCard {
  readonly uuid: string;
  readonly deviceSizeBytes: number;
  readonly regionBytes: number;
  readonly metaBlockBytes: number;
  readonly dataBlockBytes: number;
  readonly createdMs: number;
}

const SIZES = [
  "deviceSizeBytes",
  "regionBytes",
  "metaBlockBytes",
  "dataBlockBytes",
  "createdMs",
] as const;

export function encodeDeviceCard(card: DeviceCard): Uint8Array<ArrayBuffer> {
  const { uuid, deviceSizeBytes, regionBytes, metaBlockBytes, dataBlockBytes, createdMs } = card;
  const text = JSON.stringify(
    {
      format: FORMAT,
      uuid,
      deviceSizeBytes,
      regionBytes,
      metaBlockBytes,
      dataBlockBytes,
      createdMs,
    },
    null,
    2,
  );
  return new TextEncoder().encode(`${text}\n`);
}

/** Reads a card; a data error names `object` and says what is wrong with it. */
export function decodeDeviceCard(bytes: Uint8Array, object: string): DeviceCard {
  const values = parse(bytes, object);
  const bad = (what: string) =>
    dataError(`Cannot read ${object}: ${what}`, { context: { object } });
  if (values.format !== FORMAT) throw bad(`format ${values.format} is not known`);
  const { uuid } = values;
  if (typeof uuid !== "string" || !isUuid(uuid)) throw bad("uuid is not a UUID");
  for (const name of SIZES) {
    const value = values[name];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw bad(`${name} is not a size`);
    }
  }
  return { uuid, ...values as Omit<DeviceCard, "uuid"> };
}

/** Whether two cards describe the same device, formatted the same way. */
export function sameDevice(a: DeviceCard, b: DeviceCard): boolean {
  return a.uuid === b.uuid && SIZES.every((name) => a[name] === b[name]);
}

function parse(bytes: Uint8Array, object: string): Record<string, unknown> {
  let values: unknown;
  try {
    if (bytes.length > DEVICE_CARD_BYTES_MAX) throw new Error(`it has ${bytes.length} bytes`);
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.slice()));
  } catch (cause) {
    throw dataError(`Cannot read ${object}: not a device card`, { cause, context: { object } });
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw dataError(`Cannot read ${object}: not a device card`, { context: { object } });
  }
  return values as Record<string, unknown>;
}
