import { assertEquals } from "../../support/assert.ts";
import { decideStartup, type PrimaryState } from "../../../src/replication/startup.ts";

/** Primary state, its checkpoint, the replica's, own claim, dirty regions, skip; and what follows. */
type Row = [PrimaryState, number, number, boolean, number | null, boolean, string];

const ROWS: readonly Row[] = [
  ["formatted", 0, 0, true, 0, false, "forward-full"],
  ["formatted", 0, 0, true, 0, true, "attach"],
  ["formatted", 0, 1, true, 0, false, "forward-full"],
  ["formatted", 0, 9, true, 0, true, "forward-full"],
  ["formatted", 0, 1, false, 0, false, "refuse"],
  ["clean", 7, 7, true, 0, false, "attach"],
  ["clean", 7, 7, false, 0, false, "attach"],
  ["clean", 0, 0, true, 0, false, "attach"],
  ["clean", 7, 7, true, 3, false, "forward-part"],
  ["clean", 7, 8, true, 0, false, "refuse"],
  ["clean", 7, 6, true, 0, false, "refuse"],
  ["clean", 7, 0, true, 0, false, "refuse"],
  ["active", 7, 7, true, 0, false, "attach"],
  ["active", 7, 7, true, 2, false, "forward-part"],
  ["active", 7, 7, false, 2, false, "forward-part"],
  ["active", 7, 7, true, null, false, "forward-full"],
  ["active", 7, 8, true, 2, false, "forward-part"],
  ["active", 7, 12, true, 2, false, "forward-part"],
  ["active", 7, 8, false, 2, false, "refuse"],
  ["active", 7, 6, true, 2, false, "refuse"],
  ["active", 0, 0, true, null, true, "forward-full"],
  ["diverged", 7, 7, true, 0, false, "forward-full"],
  ["diverged", 7, 9, true, 0, false, "forward-full"],
  ["diverged", 7, 9, false, 0, false, "refuse"],
];

Deno.test("decideStartup() attaches, copies forward or refuses, and never reverses", () => {
  for (const row of ROWS) {
    const [
      primaryState,
      primaryCno,
      replicaCno,
      replicaCommitIsOwn,
      dirtyRegions,
      skipInitialSync,
      action,
    ] = row;
    const facts = {
      primaryState,
      primaryCno,
      replicaCno,
      replicaCommitIsOwn,
      dirtyRegions,
      skipInitialSync,
    };
    assertEquals(decideStartup({ ...facts, force: false }).action, action, row.join(" "));
    const forced = action === "refuse" ? "forward-full" : action;
    assertEquals(
      decideStartup({ ...facts, force: true }).action,
      forced,
      `${row.join(" ")} forced`,
    );
  }
});
