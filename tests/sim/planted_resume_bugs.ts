// Planted bugs of a resync that goes on after a crash: what counts as staged, and what does not any more.

import type { Failpoint } from "../../src/base/failpoints.ts";
import { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { readHead } from "../../src/replica/inode_reader.ts";
import { Replicator } from "../../src/replicator/replicator.ts";
import { type StagedChain, StagedMap } from "../../src/replicator/staged_map.ts";
import { StagedStart } from "../../src/replicator/staged_start.ts";
import { Bugs } from "./bugs.ts";
import { replace } from "./patch.ts";
import type { End, WorldPlan } from "./plan.ts";

/** Copies that take long, and crashes while they have staged regions. */
function copyingSlowly(plan: WorldPlan, failpoints: readonly Failpoint[]): WorldPlan {
  const ends = Array.from({ length: 2 * failpoints.length }, (_, life): End => ({
    kind: life % 2 === 0 ? "cut" : "kill",
    failpoint: failpoints[life % failpoints.length],
    hit: 1,
    eventsLater: life < failpoints.length ? 0 : (plan.deviceBlocks * 7 + life * 13) % 50,
    stopAfterMs: 3000,
  }));
  return {
    ...plan,
    deviceBlocks: plan.deviceBlocks + 64,
    preset: true,
    skipInitialSync: false,
    resyncRate: 128 * 1024,
    intentGenerationMs: 0,
    storeLatencyMs: Math.min(plan.storeLatencyMs, 20),
    ends,
  };
}

/** The same, of what a first life leaves dirty. */
function copyingPartsSlowly(plan: WorldPlan, failpoints: readonly Failpoint[]): WorldPlan {
  const slow = copyingSlowly(plan, failpoints);
  const first: End = { kind: "kill", atEvent: 500, stopAfterMs: 3000 };
  const ends = [first, ...slow.ends];
  return { ...slow, preset: false, skipInitialSync: true, resyncRate: 64 * 1024, ends };
}

abstract class ResumeBug extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return copyingSlowly(plan, ["staged.after-write"]);
  }
}

/** A dirty mark goes before the staged one is durable. */
class ClearBeforeStaged extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return copyingPartsSlowly(plan, ["staged.after-write"]);
  }

  override patch(): () => void {
    return replace(StagedMap.prototype, { add: () => Promise.resolve() });
  }
}

/** A page names regions once, and not the later segments that hold what was written to them since. */
class SegmentNotAdvanced extends ResumeBug {
  override patch(): () => void {
    const { add } = StagedMap.prototype;
    return replace(StagedMap.prototype, {
      add(this: StagedMap, pages: readonly number[], chain: StagedChain, regions: Int32Array) {
        const segmentId = this.chainAfter(chain.baseCno)?.segmentId ?? chain.segmentId;
        return add.call(this, pages, { ...chain, segmentId }, regions);
      },
    });
  }
}

/** A region is staged while a copy of its last chunk is under way. */
class CopyForgotten extends ResumeBug {
  override patch(): () => void {
    return replace(Replicator.prototype, { unsettled: () => [] });
  }
}

/** What is given up is not dirty again, and its marks stay for the chain that begins anew. */
class OldChainBelieved extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return copyingPartsSlowly(plan, [
      "staged.after-write",
      "attach.after-card",
      "attach.after-touch",
      "attach.after-stale-segments",
    ]);
  }

  override patch(): () => void {
    return replace(StagedStart.prototype, { giveUp: () => Promise.resolve() });
  }
}

/** What is given up is emptied on the replica while the staged map still names it. */
class GivenUpWithoutDirty extends OldChainBelieved {
  override patch(): () => void {
    const { giveUp } = StagedStart.prototype;
    return replace(StagedStart.prototype, {
      giveUp(this: StagedStart) {
        return giveUp.call(this, Infinity);
      },
    });
  }
}

/** The writer goes on with the numbers of the staged segments, but from the checkpoint's tree. */
class StagedRootForgotten extends ResumeBug {
  override patch(): () => void {
    const { openClaimed } = HyperfileWriter;
    HyperfileWriter.openClaimed = async function (store, options) {
      const { inode } = await readHead(store, options);
      const staged = options.staged && { ...options.staged, inode };
      return await openClaimed.call(HyperfileWriter, store, { ...options, staged });
    };
    return () => HyperfileWriter.openClaimed = openClaimed;
  }
}

/** By name; for each a way to make one for a world. */
export const PLANTED_RESUME_BUGS: Readonly<Record<string, () => Bugs>> = {
  "clear before staged": () => new ClearBeforeStaged(),
  "segment not advanced": () => new SegmentNotAdvanced(),
  "copy under way counts as staged": () => new CopyForgotten(),
  "old chain believed": () => new OldChainBelieved(),
  "given up without a dirty mark": () => new GivenUpWithoutDirty(),
  "staged root forgotten": () => new StagedRootForgotten(),
};
