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

Deno.test("TargetMarks.orderCopy() orders when the mark is durable, in its turn, and not where it can't be", async () => {
  const { marks, metadata, stored } = newMarks();
  await marks.start(metadata, "logging");
  marks.modeChanged("forward-part", "logging");
  const seen: string[][] = [];
  const order = () => {
    seen.push([...stored]);
    return Promise.resolve("forward-full" as const);
  };
  assertEquals(await marks.orderCopy(order), "forward-full");
  assertEquals(seen, [["active", "active", "diverged"]]);
  const store = metadata.storeSuperblock;
  metadata.storeSuperblock = () => Promise.reject(new ReplicaError("kernel", "Cannot write"));
  await assertRejects(() => marks.orderCopy(order), ReplicaError, "Cannot write");
  assertEquals(seen.length, 1, "nothing was ordered");
  metadata.storeSuperblock = store;
  await marks.orderCopy(order);
  assertEquals([seen.length, stored.length], [2, 4], "it is tried again");
});

Deno.test("A resync that ends while a copy of the whole device is ordered takes no mark from it", async () => {
  const { marks, metadata, stored } = newMarks();
  await marks.start(metadata, "forward-part");
  const ordered = marks.orderCopy(() => {
    marks.modeChanged("logging", "forward-full");
    return Promise.resolve("forward-full");
  });
  marks.modeChanged("forward-part", "logging");
  await ordered;
  await marks.settled();
  assertEquals(stored, ["active", "diverged"]);
  marks.modeChanged("forward-full", "logging");
  await marks.settled();
  assertEquals(stored.at(-1), "active");
});
