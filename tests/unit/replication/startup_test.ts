import { assertEquals } from "../../support/assert.ts";
import { decideStartup, type PrimaryState } from "../../../src/replication/startup.ts";

Deno.test("decideStartup() attaches, copies or refuses, and never reverses", () => {
  //            primary state, primary cno, replica cno, skip  -> action
  const rows: [PrimaryState, number, number, boolean, string][] = [
    ["formatted", 0, 0, false, "full-sync"],
    ["formatted", 0, 0, true, "attach"],
    ["formatted", 0, 1, false, "full-sync"],
    ["formatted", 0, 1, true, "full-sync"],
    ["formatted", 0, 2, false, "refuse"],
    ["clean", 7, 7, false, "attach"],
    ["clean", 0, 0, false, "attach"],
    ["clean", 7, 8, false, "refuse"],
    ["clean", 7, 6, false, "refuse"],
    ["clean", 7, 0, false, "refuse"],
    ["active", 7, 7, false, "full-sync"],
    ["active", 7, 8, false, "full-sync"],
    ["active", 7, 9, false, "refuse"],
    ["active", 7, 6, false, "refuse"],
    ["active", 0, 0, true, "full-sync"],
    ["diverged", 7, 7, false, "full-sync"],
    ["diverged", 7, 9, false, "refuse"],
  ];
  for (const [primaryState, primaryCno, replicaCno, skipInitialSync, action] of rows) {
    const facts = { primaryState, primaryCno, replicaCno, skipInitialSync };
    const decision = decideStartup({ ...facts, replicaCommitIsOwn: true });
    const row = `${primaryState} ${primaryCno}/${replicaCno} skip=${skipInitialSync}`;
    assertEquals(decision.action, action, row);
    // A checkpoint that another writer has added explains nothing.
    const foreign = decideStartup({ ...facts, replicaCommitIsOwn: false });
    assertEquals(foreign.action, replicaCno === primaryCno + 1 ? "refuse" : action, row);
  }
});
