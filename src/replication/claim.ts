// Whether this primary may claim its replica, as a pure table over what the replica's card and the
// primary's superblock say (R13, R14). src/replica/claim.ts does what is decided here.

import type { StoredCard, WriterIdentity } from "../format/device_card.ts";
import type { PrimaryClaim } from "../format/superblock.ts";

export interface ClaimFacts {
  readonly card: Pick<StoredCard, "epoch" | "writer">;
  /** What the superblock remembers. */
  readonly claim: PrimaryClaim | null;
  /** The process that the card names is alive on this machine, and is not this one. */
  readonly holderRuns: boolean;
  /** The operator said to take the replica from the writer that the card names. */
  readonly takeOver: boolean;
}

/** Whose claim was in force: nobody's, this primary's (its daemon died), or another writer's. */
export type ClaimedFrom = "free" | "own" | "other";

export type ClaimDecision =
  | {
    readonly action: "claim";
    readonly from: ClaimedFrom;
    readonly epoch: number;
    /** Null: a new id. Otherwise that of an attempt whose put may still arrive. */
    readonly id: string | null;
    readonly previousId: string | null;
  }
  | { readonly action: "refuse"; readonly holder: WriterIdentity };

/** Decides; see the rows in tests/unit/replication/claim_test.ts. */
export function decideClaim(facts: ClaimFacts): ClaimDecision {
  const { card: { epoch, writer }, claim, holderRuns, takeOver } = facts;
  const ours = writer !== null && claim !== null &&
    (writer.id === claim.id || writer.id === claim.previousId);
  // A copy of a primary carries its claim: the original's daemon, where it can be seen, holds it.
  const own = ours && !holderRuns;
  if (writer !== null && !own && !takeOver) return { action: "refuse", holder: writer };
  // An attempt that was cut short may still reach the store, but only while the card is the one it
  // was meant to replace. With its id used again it can't make a stranger of us.
  const cutShort = claim?.stage === "claiming" && claim.epoch === epoch + 1;
  return {
    action: "claim",
    from: writer === null ? "free" : own ? "own" : "other",
    epoch: epoch + 1,
    id: cutShort ? claim.id : null,
    previousId: cutShort ? claim.previousId : ours ? writer.id : null,
  };
}

/**
 * Whether nobody else can have claimed the replica since this primary held it: each claim raises the
 * card's epoch by one. `claim`: what the superblock remembered before this start.
 */
export function isUnbroken(card: ClaimFacts["card"], claim: PrimaryClaim | null): boolean {
  if (claim === null || claim.heldEpoch === 0) return false;
  if (card.epoch === claim.heldEpoch) return true;
  // The start before this one was cut short: its claim may stand there, on top of the one that was held.
  return card.epoch === claim.heldEpoch + 1 && claim.stage === "claiming" &&
    claim.epoch === card.epoch && card.writer?.id === claim.id;
}
