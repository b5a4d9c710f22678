import { assertEquals } from "../../support/assert.ts";
import { HistoryEnd } from "../../../src/replicator/history_end.ts";
import { History } from "../../../src/shared/history.ts";
import { allocateShared, sharedLayout, sharedViews } from "../../../src/shared/layout.ts";
import { Pool } from "../../../src/shared/pool.ts";

const UNIT = 4096;

function newEnd() {
  const layout = sharedLayout({
    queues: 1,
    depth: 1,
    ioBufBytes: UNIT,
    unitBytes: UNIT,
    poolBytes: 16 * UNIT,
    regionBytes: UNIT,
    deviceSizeBytes: 64 * UNIT,
  });
  const views = sharedViews(allocateShared(layout), layout);
  const pool = new Pool(views);
  return { end: new HistoryEnd(views, pool), history: new History(views), pool };
}

Deno.test("HistoryEnd: an end that was passed stays passed when positions come round again", () => {
  const { end, pool } = newEnd();
  const position = pool.advance(0, 10);
  assertEquals(end.isAhead(position, 0), true);
  assertEquals(end.isAhead(position, pool.advance(0, 9)), true);
  assertEquals(end.isAhead(position, position), false);
  // As far behind the end as the ring is long: seen from there alone it would lie ahead.
  for (const units of [1, 16, pool.distance(position, 5)]) {
    assertEquals(end.isAhead(position, pool.advance(position, units)), false, `${units} further`);
  }
  end.forget();
  assertEquals(end.isAhead(position, 5), true, "another end, in the same place");
});

Deno.test("HistoryEnd: the history ends before a position only where it ends", () => {
  const { end, history, pool } = newEnd();
  assertEquals(end.isBefore(5), false);
  history.endAt(5);
  assertEquals([4, 5, 6].map((at) => end.isBefore(at)), [false, false, true]);
  // A queue was preempted while it ended the history, and more than a ring went by.
  for (const units of [16, 17, 65, 1000]) {
    assertEquals(end.isBefore(pool.advance(5, units)), true, `${units} further`);
  }
  history.makeWhole();
  assertEquals(end.isBefore(6), false);
});
