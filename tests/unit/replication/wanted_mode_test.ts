import { assertEquals } from "../../support/assert.ts";
import { nextMode } from "../../../src/replication/mode.ts";
import { stepTowards, WANTED_MODES } from "../../../src/replication/wanted_mode.ts";

const MODES = ["logging", "forward-part", "forward-full", "paused"] as const;

Deno.test("stepTowards() gives an order only where it changes something", () => {
  const rows = Object.fromEntries(
    MODES.map((mode) => [mode, WANTED_MODES.map((wanted) => stepTowards(mode, wanted).order)]),
  );
  assertEquals(rows, {
    //              pause    logging   forward-part  forward-full
    "logging": ["pause", null, null, "resync-all"],
    "forward-part": ["pause", null, null, "resync-all"],
    "forward-full": ["pause", null, null, null],
    "paused": [null, "resume", "resume", "resync-all"],
  });
  for (const mode of MODES) {
    for (const wanted of WANTED_MODES) {
      const { order, note } = stepTowards(mode, wanted);
      if (order !== null) assertEquals(nextMode(mode, order) === mode, false, `${mode} ${order}`);
      assertEquals(note.startsWith("nothing to do"), order === null, `${mode} ${wanted}`);
    }
  }
});
