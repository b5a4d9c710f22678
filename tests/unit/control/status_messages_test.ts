import { type ReplicaCondition, statusMessages } from "../../../src/control/status_messages.ts";
import { MiB } from "../../../src/base/units.ts";
import { assertEquals } from "../../support/assert.ts";

const WELL: ReplicaCondition = {
  hasEnded: false,
  isRetrying: false,
  lastError: null,
  mode: "logging",
  isHistoryWhole: true,
  unreadableBlocks: 0,
  hasFlushFailed: false,
  pool: { sizeBytes: 64 * MiB, usedBytes: 0, waitingTags: 0 },
};

/** The beginnings of what is said, up to the first colon. */
function told(change: Partial<ReplicaCondition>): string[] {
  return statusMessages({ ...WELL, ...change }).map((message) => message.split(":")[0]);
}

Deno.test("statusMessages() has nothing to say of a replica that is well", () => {
  assertEquals(told({}), []);
});

Deno.test("statusMessages() names each thing that is wrong", () => {
  assertEquals(told({ isRetrying: true }), [
    "The replica does not answer, writes gather in the pool",
  ]);
  assertEquals(told({ mode: "paused", isHistoryWhole: false }), ["Replication is paused"]);
  assertEquals(told({ isHistoryWhole: false }), [
    "The replica is behind and is being brought up to date region by region",
  ]);
  assertEquals(told({ hasFlushFailed: true, unreadableBlocks: 3 }), [
    "A flush of the primary failed",
    "3 of the primary's blocks can't be read",
  ]);
  assertEquals(told({ pool: { sizeBytes: 64 * MiB, usedBytes: 64 * MiB, waitingTags: 2 } }), [
    "The pool of 64MiB is full",
  ]);
});

Deno.test("statusMessages() of a replication that has ended says why, and nothing of catching up", () => {
  const lastError = { message: "the claim is lost", hint: "Start it again" };
  assertEquals(
    statusMessages({ ...WELL, hasEnded: true, isHistoryWhole: false, isRetrying: true, lastError }),
    [
      "Replication has ended, the device works locally only: the claim is lost. Start it again",
    ],
  );
});
