import { assertEquals, assertThrows } from "../../support/assert.ts";
import {
  decodeDeviceCard,
  DEVICE_CARD_BYTES_MAX,
  type DeviceCard,
  encodeDeviceCard,
  sameDevice,
  sameWriter,
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

const WRITER = {
  id: "0b5c6d7e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  host: "db1",
  pid: 4711,
  boot: "0c9f6a3e-0d0e-4c1b-9a51-6d1f1f0e7a01",
  startedMs: 1_700_000_000_000,
};

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

Deno.test("encodeDeviceCard() round-trips and is readable text", () => {
  const bytes = encodeDeviceCard(CARD);
  assertEquals(sameDevice(decodeDeviceCard(bytes, "device.json"), CARD), true);
  const fresh = { epoch: 0, writer: null };
  assertEquals(JSON.parse(new TextDecoder().decode(bytes)), { format: 1, ...CARD, ...fresh });
});

Deno.test("decodeDeviceCard() keeps members that it does not know", () => {
  const text = JSON.stringify({ format: 1, ...CARD, lease: { seconds: 3 }, note: "x" });
  const card = decodeDeviceCard(bytesOf(text), "device.json");
  assertEquals(card.others, { lease: { seconds: 3 }, note: "x" });
  const rewritten = decodeDeviceCard(encodeDeviceCard({ ...card, epoch: 1 }), "device.json");
  assertEquals(rewritten, { ...card, epoch: 1 });
});

Deno.test("decodeDeviceCard() reads who writes, and nobody where the card is older than that", () => {
  const old = decodeDeviceCard(bytesOf(JSON.stringify({ format: 1, ...CARD })), "device.json");
  assertEquals([old.epoch, old.writer], [0, null]);
  const claimed = { ...CARD, epoch: 7, writer: WRITER };
  const card = decodeDeviceCard(encodeDeviceCard(claimed), "device.json");
  assertEquals(card, { ...claimed, others: {} });
  assertEquals(sameWriter(card.writer, WRITER), true);
  assertEquals(sameWriter(card.writer, { ...WRITER, pid: 2 }), false);
  assertEquals(sameWriter(null, WRITER), false);
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
    [JSON.stringify({ ...card, epoch: -1 }), "epoch"],
    [JSON.stringify({ ...card, writer: { id: "x" } }), "writer"],
    [JSON.stringify({ ...card, writer: { ...WRITER, pid: "1" } }), "writer"],
    [" ".repeat(DEVICE_CARD_BYTES_MAX) + JSON.stringify(card), "not a device card"],
  ];
  for (const [text, part] of rows) {
    assertThrows(() => decodeDeviceCard(bytesOf(text), "root/device.json"), ReplicaError, part);
    assertThrows(() => decodeDeviceCard(bytesOf(text), "root/device.json"), Error, "root/");
  }
});
