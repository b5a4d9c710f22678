import { compareKeys } from "../../../src/replica/object_key.ts";
import { assertEquals } from "../../support/assert.ts";

Deno.test("compareKeys() orders as the bytes of UTF-8 do", () => {
  const keys = [
    "",
    "0",
    "00",
    "1",
    "A",
    "a",
    "a-",
    "a/b",
    "a0",
    "é",
    "日",
    "\uffee",
    "\u{1f600}",
    "\u{1f600}a",
  ];
  const encoder = new TextEncoder();
  const byBytes = (a: string, b: string) => {
    const [x, y] = [encoder.encode(a), encoder.encode(b)];
    for (let i = 0; i < Math.min(x.length, y.length); i++) if (x[i] !== y[i]) return x[i] - y[i];
    return x.length - y.length;
  };
  for (const a of keys) {
    for (const b of keys) assertEquals(Math.sign(compareKeys(a, b)), Math.sign(byBytes(a, b)));
  }
});
