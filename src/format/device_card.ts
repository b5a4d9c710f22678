// The side-car object of a replica, `device.json`: which device the replica belongs to, how it was
// formatted, and who writes to it (R13). Its name is no number, so other Hyperfile tools pass over it;
// replicas written by them have none.
//
// A card without epoch and writer is one that nobody has claimed yet. Members that this version does
// not know are kept when a card is rewritten.
// Pure. Callers: src/replica/new_replica.ts, claim.ts, attach, inspect, export.

import { dataError } from "../base/errors.ts";
import { isUuid } from "../base/uuid.ts";

export const DEVICE_CARD_KEY = "device.json";
/** A greater object is not ours. */
export const DEVICE_CARD_BYTES_MAX = 64 * 1024;
const FORMAT = 1;

/** What format writes and what never changes. */
export interface DeviceCard {
  readonly uuid: string;
  readonly deviceSizeBytes: number;
  readonly regionBytes: number;
  readonly metaBlockBytes: number;
  readonly dataBlockBytes: number;
  readonly createdMs: number;
}

/** Who holds a claim: for people, except for `id`, which is all that a program compares. */
export interface WriterIdentity {
  /** Random, made anew for every claim. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** Of the machine's boot, as process ids are handed out anew after it; absent: not known. */
  readonly boot?: string;
  /** When it claimed, by its own clock. */
  readonly startedMs: number;
}

/** A card as it lies in a store. */
export interface StoredCard extends DeviceCard {
  /** Number of claims so far. */
  readonly epoch: number;
  /** Who may write; null: nobody, as the last one stopped cleanly or there was none. */
  readonly writer: WriterIdentity | null;
  /** Members that this version does not know. */
  readonly others: Readonly<Record<string, unknown>>;
}

const SIZES = [
  "deviceSizeBytes",
  "regionBytes",
  "metaBlockBytes",
  "dataBlockBytes",
  "createdMs",
] as const;

/** The object of a card; without the members of a stored one, that of a new replica. */
export function encodeDeviceCard(card: DeviceCard & Partial<StoredCard>): Uint8Array<ArrayBuffer> {
  const { uuid, deviceSizeBytes, regionBytes, metaBlockBytes, dataBlockBytes, createdMs } = card;
  const { epoch = 0, writer = null, others = {} } = card;
  const values = {
    format: FORMAT,
    uuid,
    deviceSizeBytes,
    regionBytes,
    metaBlockBytes,
    dataBlockBytes,
    createdMs,
    epoch,
    writer,
    ...others,
  };
  return new TextEncoder().encode(`${JSON.stringify(values, null, 2)}\n`);
}

/** Reads a card; a data error names `object` and says what is wrong with it. */
export function decodeDeviceCard(bytes: Uint8Array, object: string): StoredCard {
  const { format, uuid, epoch = 0, writer = null, ...values } = parse(bytes, object);
  const bad = (what: string) =>
    dataError(`Cannot read ${object}: ${what}`, { context: { object } });
  if (format !== FORMAT) throw bad(`format ${format} is not known`);
  if (typeof uuid !== "string" || !isUuid(uuid)) throw bad("uuid is not a UUID");
  for (const name of SIZES) {
    if (!isNatural(values[name])) throw bad(`${name} is not a size`);
  }
  if (!isNatural(epoch)) throw bad("epoch is not a number of claims");
  if (writer !== null && !isWriter(writer)) throw bad("writer names nobody");
  const { deviceSizeBytes, regionBytes, metaBlockBytes, dataBlockBytes, createdMs, ...others } =
    values as unknown as DeviceCard & Record<string, unknown>;
  const device = { uuid, deviceSizeBytes, regionBytes, metaBlockBytes, dataBlockBytes, createdMs };
  return { ...device, epoch, writer, others };
}

/** Whether two cards describe the same device, formatted the same way. */
export function sameDevice(a: DeviceCard, b: DeviceCard): boolean {
  return a.uuid === b.uuid && SIZES.every((name) => a[name] === b[name]);
}

/** Whether two identities are those of one claim by one process. */
export function sameWriter(a: WriterIdentity | null, b: WriterIdentity): boolean {
  return a !== null && a.id === b.id && a.host === b.host && a.pid === b.pid &&
    a.startedMs === b.startedMs;
}

/** The last moment that a Date can name. */
const DATE_MS_MAX = 8.64e15;

function isNatural(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isWriter(value: unknown): value is WriterIdentity {
  if (typeof value !== "object" || value === null) return false;
  const { id, host, pid, boot, startedMs } = value as Record<string, unknown>;
  return typeof id === "string" && isUuid(id) && typeof host === "string" && isNatural(pid) &&
    (boot === undefined || typeof boot === "string") && isNatural(startedMs) &&
    startedMs <= DATE_MS_MAX;
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
