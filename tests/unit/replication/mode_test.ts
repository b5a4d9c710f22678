import { assertEquals } from "../../support/assert.ts";
import { isResyncing, type Mode, type ModeEvent, nextMode } from "../../../src/replication/mode.ts";

const MODES: Mode[] = ["logging", "forward-part", "forward-full", "paused", "detached"];
const EVENTS: ModeEvent[] = ["overflow", "resynced", "pause", "resume", "resync-all", "detach"];

Deno.test("nextMode() goes where the table says, and nowhere else", () => {
  const rows = Object.fromEntries(
    MODES.map((mode) => [mode, EVENTS.map((event) => nextMode(mode, event))]),
  );
  assertEquals(rows, {
    //              overflow        resynced        pause       resume          resync-all      detach
    "logging": ["forward-part", "logging", "paused", "logging", "forward-full", "detached"],
    "forward-part": [
      "forward-part",
      "logging",
      "paused",
      "forward-part",
      "forward-full",
      "detached",
    ],
    "forward-full": [
      "forward-full",
      "logging",
      "paused",
      "forward-full",
      "forward-full",
      "detached",
    ],
    "paused": ["paused", "paused", "paused", "forward-part", "forward-full", "detached"],
    "detached": ["detached", "detached", "detached", "detached", "detached", "detached"],
  });
  assertEquals(MODES.filter(isResyncing), ["forward-part", "forward-full"]);
});
