import {
  indexOf,
  KIND_COMMAND,
  KIND_DOORBELL,
  KIND_TARGET_IO,
  kindOf,
  userData,
} from "../../../src/queue/tag.ts";
import { assertEquals } from "../../support/assert.ts";

Deno.test("userData() keeps kind and index, and stays a small positive integer", () => {
  for (const kind of [KIND_COMMAND, KIND_TARGET_IO, KIND_DOORBELL]) {
    for (const index of [0, 1, 4095, 8191, 2 ** 24 - 1]) {
      const data = userData(kind, index);
      assertEquals([kindOf(data), indexOf(data)], [kind, index]);
      assertEquals(data | 0, data);
      assertEquals(data >= 0, true);
    }
  }
});
