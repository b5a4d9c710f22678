import { assertEquals } from "../../support/assert.ts";
import { parseState, type StoredState } from "../../../src/control/daemon_state.ts";

const STATE: StoredState = {
  version: 1,
  number: 3,
  device: "/dev/ublkb3",
  pid: 4711,
  pidStart: 99,
  socket: "/run/.ioreplica",
  deviceSizeBytes: 4096,
  config: { target: { type: "null" } },
};
const LOOP = { type: "loop", path: "/dev/sda" };
const REPLICA = { type: "io-replica", path: "/dev/sda", uuid: "u", replica: { uri: "file:///r" } };

function parsed(changes: Record<string, unknown>): StoredState | null {
  return parseState(JSON.stringify({ ...STATE, ...changes }), 3);
}

Deno.test("parseState() gives a state with all that it has", () => {
  assertEquals(parsed({}), STATE);
  for (const config of [{ depth: 1, target: LOOP }, { depth: 1, target: REPLICA }]) {
    const stored: unknown = parsed({ config, logFile: null });
    assertEquals(stored, { ...STATE, config, logFile: null });
  }
});

Deno.test("parseState() takes nothing whose members are not what they should be", () => {
  const wrong: Record<string, unknown>[] = [
    ...Object.keys(STATE).map((name) => ({ [name]: undefined })),
    ...Object.keys(STATE).map((name) => ({ [name]: null })),
    ...["pid", "pidStart", "deviceSizeBytes"].flatMap((name) => [
      { [name]: "1" },
      { [name]: -1 },
      { [name]: 1.5 },
    ]),
    ...["socket", "device"].map((name) => ({ [name]: 7 })),
    { version: 2 },
    { number: 4 },
    { pid: 0 },
    { config: [] },
  ];
  for (const changes of wrong) assertEquals(parsed(changes), null, JSON.stringify(changes));
  assertEquals(parseState(JSON.stringify(STATE), 4), null, "of another device");
});

Deno.test("parseState() takes no target that list could not show", () => {
  const wrong = [
    null,
    "null",
    {},
    { type: "other" },
    { type: "loop" },
    { ...LOOP, path: 7 },
    { ...REPLICA, path: undefined },
    { ...REPLICA, uuid: null },
    { ...REPLICA, replica: null },
    { ...REPLICA, replica: {} },
  ];
  for (const target of wrong) {
    assertEquals(parsed({ config: { target } }), null, JSON.stringify(target));
  }
});
