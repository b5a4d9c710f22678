import { assertEquals } from "../../support/assert.ts";
import {
  checkpointDueInMs,
  type CheckpointNeed,
} from "../../../src/replication/checkpoint_policy.ts";

const LIMITS = { maxAgeMs: 500, targetBytes: 1000, flushIntervalMs: 100 };
const QUIET: CheckpointNeed = {
  nowMs: 10_000,
  oldestAgeMs: 20,
  pendingBytes: 10,
  guestFlushed: false,
  lastCutMs: 9_980,
  urgent: false,
};

Deno.test("checkpointDueInMs() cuts by age, size, FLUSH or need, whichever is first", () => {
  const rows: [string, Partial<CheckpointNeed>, number][] = [
    ["a young small write waits for its age", {}, 480],
    ["an old one is due", { oldestAgeMs: 500 }, 0],
    ["an overdue one is due", { oldestAgeMs: 900 }, 0],
    ["enough bytes are due", { pendingBytes: 1000 }, 0],
    ["a FLUSH waits for the rate limit", { guestFlushed: true }, 80],
    ["a FLUSH after the rate limit is due", { guestFlushed: true, lastCutMs: 9_900 }, 0],
    ["age beats a rate-limited FLUSH", { guestFlushed: true, oldestAgeMs: 490 }, 10],
    ["need is due", { urgent: true }, 0],
    ["nothing pending is never due", { oldestAgeMs: null, urgent: true }, Infinity],
    ["a FLUSH of nothing is never due", { oldestAgeMs: null, guestFlushed: true }, Infinity],
  ];
  for (const [name, change, dueInMs] of rows) {
    assertEquals(checkpointDueInMs({ ...QUIET, ...change }, LIMITS), dueInMs, name);
  }
});
