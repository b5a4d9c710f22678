import { decideClaim, isUnbroken } from "../../../src/replication/claim.ts";
import type { PrimaryClaim } from "../../../src/format/superblock.ts";
import { assertEquals } from "../../support/assert.ts";

const HELD: PrimaryClaim = { stage: "held", epoch: 5, id: "us", previousId: null, heldEpoch: 5 };
const CLAIMING: PrimaryClaim = {
  stage: "claiming",
  epoch: 6,
  id: "next",
  previousId: "us",
  heldEpoch: 5,
};

function writer(id: string | null) {
  return id === null ? null : { id, host: "h", pid: 1, startedMs: 0 };
}

Deno.test("decideClaim() claims what is free or its own, and refuses what is another's", () => {
  // superblock, epoch, holder, -> from, or "refuse"; with --take-over; where the holder is seen alive
  const rows: [PrimaryClaim | null, number, string | null, string, string, string][] = [
    [null, 0, null, "free", "free", "free"],
    [null, 4, null, "free", "free", "free"],
    [null, 4, "other", "refuse", "other", "refuse"],
    [HELD, 5, "us", "own", "own", "refuse"],
    [HELD, 5, null, "free", "free", "free"],
    [HELD, 6, "other", "refuse", "other", "refuse"],
    [CLAIMING, 5, "us", "own", "own", "refuse"],
    [CLAIMING, 6, "next", "own", "own", "refuse"],
    [CLAIMING, 5, "other", "refuse", "other", "refuse"],
    [CLAIMING, 5, null, "free", "free", "free"],
    [CLAIMING, 6, "other", "refuse", "other", "refuse"],
  ];
  for (const [claim, epoch, holder, plain, takeOver, seen] of rows) {
    const facts = { card: { epoch, writer: writer(holder) }, claim };
    const row = `${claim?.stage ?? "none"} ${epoch} ${holder}`;
    const outcome = (holderRuns: boolean, withLeave: boolean) => {
      const decision = decideClaim({ ...facts, holderRuns, takeOver: withLeave });
      return decision.action === "claim" ? decision.from : "refuse";
    };
    assertEquals(outcome(false, false), plain, row);
    assertEquals(outcome(false, true), takeOver, row);
    assertEquals(outcome(true, false), holder === null ? plain : seen, row);
    assertEquals(outcome(true, true), holder === null ? "free" : "other", row);
  }
});

Deno.test("decideClaim() tries again under the same id for as long as the lost put may arrive", () => {
  function ids(claim: PrimaryClaim | null, epoch: number, holder: string | null) {
    const card = { epoch, writer: writer(holder) };
    const decision = decideClaim({ card, claim, holderRuns: false, takeOver: true });
    if (decision.action === "refuse") throw new Error("refused");
    return [decision.epoch, decision.id, decision.previousId];
  }
  assertEquals(ids(null, 0, null), [1, null, null]);
  assertEquals(ids(HELD, 5, "us"), [6, null, "us"]);
  assertEquals(ids(HELD, 5, null), [6, null, null]);
  assertEquals(ids(CLAIMING, 5, "us"), [6, "next", "us"]);
  assertEquals(ids(CLAIMING, 5, null), [6, "next", "us"]);
  assertEquals(ids(CLAIMING, 6, "next"), [7, null, "next"]);
  assertEquals(ids(CLAIMING, 6, "other"), [7, null, null]);
});

Deno.test("isUnbroken() knows that nobody else can have claimed the replica", () => {
  const later = { ...CLAIMING, epoch: 7, id: "later" };
  // superblock, epoch, holder
  const rows: [PrimaryClaim | null, number, string | null, boolean][] = [
    [null, 0, null, false],
    [{ ...CLAIMING, epoch: 1, heldEpoch: 0 }, 0, null, false],
    [HELD, 5, "us", true],
    [HELD, 5, null, true],
    [HELD, 6, "other", false],
    [HELD, 6, null, false],
    [CLAIMING, 5, "us", true],
    [CLAIMING, 6, "next", true],
    [CLAIMING, 6, "other", false],
    // Released: it may have been ours, or another's.
    [CLAIMING, 6, null, false],
    [CLAIMING, 7, "next", false],
    // Two starts were cut short: the claim between may have been another's.
    [later, 5, "us", true],
    [later, 6, "other", false],
    [later, 7, "later", false],
  ];
  for (const [claim, epoch, holder, expected] of rows) {
    const row = `${claim?.stage ?? "none"} ${claim?.epoch} ${epoch} ${holder}`;
    assertEquals(isUnbroken({ epoch, writer: writer(holder) }, claim), expected, row);
  }
});
