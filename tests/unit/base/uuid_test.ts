import { assertEquals, assertThrows } from "../../support/assert.ts";
import { isUuid, newUuid, parseUuid, uuidFromBytes, uuidToBytes } from "../../../src/base/uuid.ts";

Deno.test("newUuid() makes lower-case version 4 UUIDs that survive bytes", () => {
  const uuid = newUuid();
  assertEquals(/^[0-9a-f-]{14}4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuid), true);
  assertEquals(uuidFromBytes(uuidToBytes(uuid)), uuid);
});

Deno.test("parseUuid() accepts any case and nothing that is no UUID", () => {
  const uuid = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
  assertEquals(parseUuid(` ${uuid.toUpperCase()} `, "--uuid"), uuid);
  for (const text of ["", "x", uuid.slice(1), uuid + "0", uuid.replaceAll("-", ""), "../" + uuid]) {
    assertThrows(() => parseUuid(text, "--uuid"), Error, "--uuid", text);
    assertEquals(isUuid(text), false);
  }
});
