import { assertEquals } from "../../support/assert.ts";
import { decideStartup, type StartState } from "../../../src/replication/startup.ts";

/** Primary state, its checkpoint, the replica's, own claim, dirty regions, skip; and what follows. */
type Row = [StartState, number, number, boolean, number, boolean, string];

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
  ["active", 7, 8, true, 2, false, "forward-part"],
  ["active", 7, 12, true, 2, false, "forward-part"],
  ["active", 7, 8, false, 2, false, "refuse"],
  ["active", 7, 6, true, 2, false, "refuse"],
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
      staged: null,
      recordedIsThere: true,
      unmarkedBlock: null,
      unrecordedCno: null,
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

Deno.test("decideStartup() goes on with what is staged, where it is what the state asks for", () => {
  const facts = {
    primaryCno: 7,
    replicaCno: 7,
    replicaCommitIsOwn: true,
    skipInitialSync: false,
    recordedIsThere: true,
    unmarkedBlock: null,
    unrecordedCno: null,
    force: false,
  };
  // Primary state, dirty regions, what is staged; and what follows.
  const rows: readonly [StartState, number, "part" | "whole" | null, string, boolean][] = [
    ["active", 2, "part", "forward-part", true],
    ["active", 2, "whole", "forward-part", true],
    // All is staged: it still has to be published.
    ["active", 0, "part", "forward-part", true],
    ["active", 2, null, "forward-part", false],
    ["clean", 0, "part", "forward-part", true],
    ["formatted", 0, "whole", "forward-full", true],
    ["formatted", 0, "part", "forward-full", false],
    ["diverged", 2, "whole", "forward-full", true],
    ["diverged", 2, "part", "forward-full", false],
    ["diverged", 2, null, "forward-full", false],
  ];
  for (const [primaryState, dirtyRegions, staged, action, resumes] of rows) {
    const decision = decideStartup({ ...facts, primaryState, dirtyRegions, staged });
    const outcome = [decision.action, "resumes" in decision && decision.resumes];
    assertEquals(outcome, [action, resumes], `${primaryState} ${staged}`);
  }
  // A replica that is not this primary's is never gone on with.
  const foreign = {
    ...facts,
    primaryState: "active",
    replicaCno: 9,
    replicaCommitIsOwn: false,
  } as const;
  const forced = decideStartup({ ...foreign, dirtyRegions: 1, staged: "whole", force: true });
  assertEquals([forced.action, "resumes" in forced && forced.resumes], ["forward-full", false]);
});

Deno.test("decideStartup() refuses a primary that is an older copy of itself", () => {
  const older = {
    primaryCno: 7,
    replicaCno: 12,
    replicaCommitIsOwn: true,
    recordedIsThere: true,
    dirtyRegions: 0,
    staged: null,
    skipInitialSync: false,
  };
  const rows: readonly [StartState, boolean, string][] = [
    ["active", false, "refuse"],
    ["active", true, "forward-full"],
    // What copies everything needs no map.
    ["formatted", false, "forward-full"],
    ["diverged", false, "forward-full"],
  ];
  const evidence = [
    { unrecordedCno: 8, unmarkedBlock: null },
    { unrecordedCno: null, unmarkedBlock: 3 },
  ];
  for (const told of evidence) {
    for (const [primaryState, force, action] of rows) {
      const decision = decideStartup({ ...older, ...told, primaryState, force });
      assertEquals(decision.action, action, primaryState);
    }
  }
});

Deno.test("decideStartup() refuses a replica whose checkpoint of the primary's number is another one", () => {
  const facts = {
    primaryCno: 7,
    replicaCommitIsOwn: true,
    recordedIsThere: false,
    unmarkedBlock: null,
    unrecordedCno: null,
    dirtyRegions: 0,
    staged: null,
    skipInitialSync: false,
  };
  for (const primaryState of ["formatted", "active", "clean", "diverged"] as const) {
    for (const replicaCno of [7, 8]) {
      const actions = [false, true].map((force) =>
        decideStartup({ ...facts, primaryState, replicaCno, force }).action
      );
      assertEquals(actions, ["refuse", "forward-full"], `${primaryState} ${replicaCno}`);
    }
  }
});
