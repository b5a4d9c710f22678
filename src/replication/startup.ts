// What to do with primary and replica when a device starts: one pure table (R12). The primary always
// wins; nothing here ever copies from the replica to the primary.
//
//   | superblock | checkpoints            | dirty regions | then                                        |
//   |------------|------------------------|---------------|---------------------------------------------|
//   | formatted  | any explained          |               | forward full, or attach if told to skip it  |
//   | clean      | equal                  | none          | attach                                      |
//   | clean      | equal                  | some          | forward part                                |
//   | clean      | different              |               | refuse                                      |
//   | active     | explained              | none          | attach                                      |
//   | active     | explained              | some          | forward part                                |
//   | diverged   | explained              |               | forward full                                |
//   | active     | more than one ahead    |               | refuse                                      |
//   | active     | one ahead              | not all of it | refuse                                      |
//   | any        | unexplained, or the    |               | refuse                                      |
//   |            | recorded one is another|               |                                             |
//   | refused, but forced                 |               | forward full                                |
//
// A resync that was cut short goes on where it stopped (`resumes`) when its staged segments stand there
// untouched (`staged`): in `clean` and `active` any resync; where the whole device is to be copied, only a
// copy of the whole device. With nothing dirty left it still has to be published.
//
// Explained: the replica stands where the primary's flush log says, or is ahead of it and only this
// primary can have written that - the claim on the replica is its own. (A commit is recorded after it
// is published, so a crash between the two leaves the replica ahead. Its number may have grown by more
// than one: segments that a resync stages take numbers, too. But it is ahead by one *published* checkpoint:
// with more of them, this primary is an older copy of the one that wrote them - a snapshot was restored -
// and its dirty map knows nothing of what they changed. The same is told of a single one by a block that it
// changed, with data or zeros, and that the primary's maps do not name: a mark goes only after the record.
// Where they name all that it changed, it does not matter which of the two it is: all of it is copied. Of a
// checkpoint that changed very much only the first part is looked at.)

/** What the superblock says of the last time the device ran. */
export type StartState = "formatted" | "active" | "clean" | "diverged";

export interface StartupFacts {
  readonly primaryState: StartState;
  /** Newest checkpoint in the primary's flush log; 0: none. */
  readonly primaryCno: number;
  /** Newest committed checkpoint of the replica; 0: none. */
  readonly replicaCno: number;
  /** The last writer that claimed the replica was this primary's daemon. */
  readonly replicaCommitIsOwn: boolean;
  /** The checkpoint of the primary's number on the replica is the one that it recorded, if it told which. */
  readonly recordedIsThere: boolean;
  /** A checkpoint between the two numbers, which the primary never recorded; null: there is none. */
  readonly unrecordedCno: number | null;
  /**
   * A block that the replica's newest checkpoint changed without the primary's maps naming it; null: none
   * was found.
   */
  readonly unmarkedBlock: number | null;
  /** Regions that the primary's map says may differ. */
  readonly dirtyRegions: number;
  /** What the segments after the replica's newest checkpoint can be gone on with as; null: not. */
  readonly staged: "part" | "whole" | null;
  /** The operator said that a fresh primary holds nothing that the replica must get. */
  readonly skipInitialSync: boolean;
  /** The operator wants the primary copied whatever the replica holds. */
  readonly force: boolean;
}

export type StartupDecision =
  /** Primary and replica are equal: capture from now on. */
  | { readonly action: "attach" }
  /** Copy what the dirty map names, or the whole primary, while the device is in use. */
  | {
    readonly action: "forward-part" | "forward-full";
    readonly why: string;
    /** Goes on with what is staged; else that is given up. */
    readonly resumes: boolean;
  }
  | { readonly action: "refuse"; readonly why: string };

/** Decides; see the rows in tests/unit/replication/startup_test.ts. */
export function decideStartup(facts: StartupFacts): StartupDecision {
  const decision = decide(facts);
  if (decision.action !== "refuse" || !facts.force) return decision;
  return { action: "forward-full", why: `forced, although ${decision.why}`, resumes: false };
}

function decide(facts: StartupFacts): StartupDecision {
  const { primaryState, primaryCno, replicaCno, replicaCommitIsOwn } = facts;
  if (replicaCno < primaryCno) {
    return {
      action: "refuse",
      why: `the replica's newest checkpoint is ${replicaCno}, ` +
        `but the primary has seen checkpoint ${primaryCno}`,
    };
  }
  if (replicaCno > primaryCno && (primaryState === "clean" || !replicaCommitIsOwn)) {
    return {
      action: "refuse",
      why: `the replica's newest checkpoint is ${replicaCno}, ` +
        `but the last one of this primary is ${primaryCno}: somebody else has written to it`,
    };
  }
  if (!facts.recordedIsThere) {
    return {
      action: "refuse",
      why: `the replica's checkpoint ${primaryCno} is not the one that this primary has seen: ` +
        "one of the two was restored, and went on from there",
    };
  }
  switch (primaryState) {
    case "formatted":
      if (facts.skipInitialSync && replicaCno === 0) return { action: "attach" };
      return wholeDevice(facts, "the primary has never been copied");
    case "diverged":
      return wholeDevice(facts, "an earlier copy of the whole primary is not finished");
    case "clean":
    case "active":
      return restored(facts) ?? equalButFor(facts);
  }
}

function restored(facts: StartupFacts): StartupDecision | null {
  const { primaryCno, replicaCno, unrecordedCno, unmarkedBlock } = facts;
  if (unrecordedCno === null && unmarkedBlock === null) return null;
  const evidence = unrecordedCno !== null
    ? `${unrecordedCno} and to ${replicaCno}`
    : `${replicaCno} and wrote block ${unmarkedBlock}, which is not in its dirty map`;
  return {
    action: "refuse",
    why: `the primary has recorded checkpoint ${primaryCno}, but its own daemon went on to ` +
      `${evidence}: an older copy of the primary was restored`,
  };
}

function wholeDevice({ staged }: StartupFacts, why: string): StartupDecision {
  if (staged !== "whole") return { action: "forward-full", why, resumes: false };
  return { action: "forward-full", why: `${why}: it goes on where it stopped`, resumes: true };
}

function equalButFor({ dirtyRegions, staged }: StartupFacts): StartupDecision {
  if (staged !== null) {
    const why = `a resync was cut short and goes on: ${dirtyRegions} regions may differ`;
    return { action: "forward-part", why, resumes: true };
  }
  if (dirtyRegions === 0) return { action: "attach" };
  return {
    action: "forward-part",
    why: `the device was not stopped cleanly, and ${dirtyRegions} regions may differ`,
    resumes: false,
  };
}
