import { assertEquals, assertThrows } from "../../support/assert.ts";
import {
  decodeDeviceCard,
  DEVICE_CARD_BYTES_MAX,
  type DeviceCard,
  encodeDeviceCard,
  sameDevice,
} from "../../../src/format/device_card.ts";
import { ReplicaError } from "../../../src/base/errors.ts";

const CARD: DeviceCard = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  deviceSizeBytes: 2 ** 46,
  regionBytes: 8 << 20,
  metaBlockBytes: 4096,
  dataBlockBytes: 16384,
  createdMs: 1_700_000_000_000,
};

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

Deno.test("encodeDeviceCard() round-trips and is readable text", () => {
  const bytes = encodeDeviceCard(CARD);
  assertEquals(sameDevice(decodeDeviceCard(bytes, "device.json"), CARD), true);
  assertEquals(JSON.parse(new TextDecoder().decode(bytes)), { format: 1, ...CARD });
});

Deno.test("decodeDeviceCard() keeps members that it does not know", () => {
  const text = JSON.stringify({ format: 1, ...CARD, writer: { epoch: 3 } });
  const card = decodeDeviceCard(bytesOf(text), "device.json") as DeviceCard & { writer: unknown };
  assertEquals(card.writer, { epoch: 3 });
});

Deno.test("decodeDeviceCard() refuses anything else and names the object", () => {
  const card = { format: 1, ...CARD };
  const rows: [string, string][] = [
    ["", "not a device card"],
    ["[]", "not a device card"],
    ["null", "not a device card"],
    ["\xff", "not a device card"],
    ["{}", "format undefined"],
    [JSON.stringify({ ...card, format: 2 }), "format 2"],
    [JSON.stringify({ ...card, uuid: "x" }), "uuid"],
    [JSON.stringify({ ...card, uuid: undefined }), "uuid"],
    [JSON.stringify({ ...card, deviceSizeBytes: -1 }), "deviceSizeBytes"],
    [JSON.stringify({ ...card, regionBytes: "8MiB" }), "regionBytes"],
    [JSON.stringify({ ...card, createdMs: 1.5 }), "createdMs"],
    [" ".repeat(DEVICE_CARD_BYTES_MAX) + JSON.stringify(card), "not a device card"],
  ];
  for (const [text, part] of rows) {
    assertThrows(() => decodeDeviceCard(bytesOf(text), "root/device.json"), ReplicaError, part);
    assertThrows(() => decodeDeviceCard(bytesOf(text), "root/device.json"), Error, "root/");
  }
});
