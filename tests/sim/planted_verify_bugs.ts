// Planted bugs of a comparison of primary and replica.

import { PrimaryDigests, type Stretch } from "../../src/replicator/primary_digests.ts";
import { Published } from "../../src/replicator/published_mark.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import { Bugs } from "./bugs.ts";
import { replace } from "./patch.ts";
import type { End, WorldPlan } from "./plan.ts";

/** An operator compares in every life. */
abstract class VerifyBug extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    const ends = plan.ends.map((): End => ({ kind: "stop", afterMs: 3000 }));
    return { ...plan, compareOneIn: 1, storeGarbageOneIn: 0, ends };
  }
}

/** What was read of the primary is held against a checkpoint that can't have it yet. */
class CheckpointNotAwaited extends VerifyBug {
  override patch(): () => void {
    return replace(Published.prototype, { now: () => Promise.resolve() });
  }
}

/** What a resync has still to copy counts as what the replica should have. */
class ResyncNotAwaited extends VerifyBug {
  override patch(): () => void {
    return replace(Published.prototype, {
      whole: () => Promise.resolve(),
      now: () => Promise.resolve(),
    });
  }
}

/** What is between the primary and the ring is read as well. */
class ComparisonHoldsNoLock extends VerifyBug {
  override plan(plan: WorldPlan): WorldPlan {
    const drawn = super.plan(plan);
    const habits = { ...drawn.habits, writes: 90, hotBlocks: 2, thinkMs: 0.3 };
    // A write stays long between primary and ring, and a checkpoint is soon there.
    return { ...drawn, habits, driveLatencyMs: 1, storeLatencyMs: 1, maxAgeMs: 20 };
  }

  override patch(): () => void {
    const { read } = PrimaryDigests.prototype;
    const { tryLockOrWake, unlockAndWake } = IntervalLock.prototype;
    const theirs = new WeakSet<IntervalLock>();
    let isReading = false;
    const undoRead = replace(PrimaryDigests.prototype, {
      read(this: PrimaryDigests, stretch: Stretch, wanted: readonly number[]) {
        isReading = true;
        const digests = read.call(this, stretch, wanted);
        isReading = false;
        return digests;
      },
    });
    const undoLock = replace(IntervalLock.prototype, {
      tryLockOrWake(this: IntervalLock, start: number, count: number, wake: () => void) {
        if (isReading) theirs.add(this);
        return theirs.has(this) || tryLockOrWake.call(this, start, count, wake);
      },
      unlockAndWake(this: IntervalLock, start: number, count: number, wake: () => void) {
        if (!theirs.has(this)) unlockAndWake.call(this, start, count, wake);
      },
    });
    return () => {
      undoRead();
      undoLock();
    };
  }
}

/** By name; for each a way to make one for a world. */
export const PLANTED_VERIFY_BUGS: Readonly<Record<string, () => Bugs>> = {
  "checkpoint not awaited": () => new CheckpointNotAwaited(),
  "resync not awaited": () => new ResyncNotAwaited(),
  "comparison holds no lock": () => new ComparisonHoldsNoLock(),
};
