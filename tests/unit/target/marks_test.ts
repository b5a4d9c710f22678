// What the superblock says while a device runs, over a primary whose flushes take their time.

import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { roomLog } from "../../../src/base/log.ts";
import { TargetMarks } from "../../../src/target/marks.ts";
import type { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";

function newMarks() {
  const stored: string[] = [];
  const metadata = {
    superblock: { state: "formatted" },
    async storeSuperblock({ state }: { state: string }) {
      await systemClock.sleep(20);
      stored.push(state);
    },
  } as unknown as PrimaryMetadata;
  return { stored, metadata, marks: new TargetMarks(systemClock, roomLog("main")) };
}

Deno.test("TargetMarks writes everything that was said before it is closed, and nothing after", async () => {
  const { marks, metadata, stored } = newMarks();
  await marks.start(metadata, "forward-full");
  marks.modeChanged("forward-full", "logging");
  await systemClock.sleep(2);
  marks.diverged();
  const closed = marks.close();
  marks.modeChanged("forward-full", "logging");
  await closed;
  assertEquals(stored, ["formatted", "active", "diverged"]);
});

Deno.test("TargetMarks that never started is closed at once", async () => {
  const { marks, stored } = newMarks();
  marks.diverged();
  await marks.close();
  assertEquals(stored, []);
});

Deno.test("TargetMarks.requireDiverged() is durable when it resolves, in its turn, and rejects where it can't be", async () => {
  const { marks, metadata, stored } = newMarks();
  await marks.start(metadata, "logging");
  marks.modeChanged("forward-part", "logging");
  await marks.requireDiverged();
  assertEquals(stored, ["active", "active", "diverged"]);
  const store = metadata.storeSuperblock;
  metadata.storeSuperblock = () => Promise.reject(new ReplicaError("kernel", "Cannot write"));
  await assertRejects(() => marks.requireDiverged(), ReplicaError, "Cannot write");
  metadata.storeSuperblock = store;
  await marks.requireDiverged();
  assertEquals(stored.length, 4, "it is tried again");
});
