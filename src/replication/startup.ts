// What to do with primary and replica when a device starts: one pure table (R12). The primary always
// wins; nothing here ever copies from the replica to the primary.

/** What the superblock says of the last time the device ran. */
export type PrimaryState = "formatted" | "active" | "clean" | "diverged";

export interface StartupFacts {
  readonly primaryState: PrimaryState;
  /** Newest checkpoint in the primary's flush log; 0: none. */
  readonly primaryCno: number;
  /** Newest committed checkpoint of the replica; 0: none. */
  readonly replicaCno: number;
  /** Asked where the replica is one checkpoint ahead: whether this primary wrote that one. */
  readonly replicaCommitIsOwn: boolean;
  /** The operator said that a fresh primary holds nothing that the replica must get. */
  readonly skipInitialSync: boolean;
}

export type StartupDecision =
  /** Primary and replica are equal: capture from now on. */
  | { readonly action: "attach" }
  /** Copy the whole primary before the device starts. */
  | { readonly action: "full-sync"; readonly why: string }
  | { readonly action: "refuse"; readonly why: string };

/** Decides; see the rows in tests/unit/replication/startup_test.ts. */
export function decideStartup(facts: StartupFacts): StartupDecision {
  const { primaryState, primaryCno, replicaCno } = facts;
  const oneAhead = replicaCno === primaryCno + 1;
  if (oneAhead && !facts.replicaCommitIsOwn) {
    return { action: "refuse", why: `another writer has since written checkpoint ${replicaCno}` };
  }
  if (replicaCno !== primaryCno && !oneAhead) {
    const side = replicaCno < primaryCno ? "behind" : "ahead of";
    return {
      action: "refuse",
      why: `the replica's checkpoint ${replicaCno} is ${side} the primary's ${primaryCno} ` +
        "by more than one commit cut short",
    };
  }
  switch (primaryState) {
    case "clean":
      if (replicaCno === primaryCno) return { action: "attach" };
      return {
        action: "refuse",
        why: `the device was stopped cleanly at checkpoint ${primaryCno}, ` +
          `but somebody has since written checkpoint ${replicaCno}`,
      };
    case "formatted":
      if (facts.skipInitialSync && replicaCno === 0) return { action: "attach" };
      return { action: "full-sync", why: "the primary has never been copied" };
    case "diverged":
      return { action: "full-sync", why: "replication had ended before the device was stopped" };
    case "active":
      return {
        action: "full-sync",
        why: "the device was not stopped cleanly, so the replica may miss its last writes",
      };
  }
}
