// Device identities: random (version 4) UUIDs, lower-case in text, 16 bytes in records.

import { usageError } from "./errors.ts";
import { invariant } from "./assert.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A new random UUID, version 4. */
export function newUuid(): string {
  return crypto.randomUUID();
}

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** Reads a UUID in any case; `name` is the option it belongs to. */
export function parseUuid(text: string, name: string): string {
  const lower = text.trim().toLowerCase();
  if (!isUuid(lower)) {
    throw usageError(`Cannot read ${name}: "${text}" is not a UUID`, {
      hint: "Copy the UUID that format printed, for example 6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d.",
    });
  }
  return lower;
}

export function uuidToBytes(uuid: string): Uint8Array<ArrayBuffer> {
  invariant(isUuid(uuid), `"${uuid}" is a lower-case UUID`);
  return Uint8Array.fromHex(uuid.replaceAll("-", ""));
}

export function uuidFromBytes(bytes: Uint8Array): string {
  invariant(bytes.length === 16, "a UUID has 16 bytes");
  return bytes.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
