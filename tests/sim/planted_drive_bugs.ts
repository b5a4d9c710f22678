// Planted bugs of a program that believes a drive which fails.

import { SECTOR } from "../../src/base/units.ts";
import type { Disk } from "../../src/primary/disk.ts";
import { IntentGate } from "../../src/queue/intent_gate.ts";
import { type Coverage, IntentCleaner } from "../../src/replicator/intent_cleaner.ts";
import { UnreadableBlocks } from "../../src/replicator/unreadable_blocks.ts";
import { type SharedViews, WORD } from "../../src/shared/layout.ts";
import { Bugs } from "./bugs.ts";
import { type DriveTemper, SOUND_DRIVE } from "./defects.ts";
import { replace } from "./patch.ts";
import { type End, UNIT_BYTES, type WorldPlan } from "./plan.ts";

/** A drive that fails often, and power cuts some time after a start. */
function failing(plan: WorldPlan, temper: Partial<DriveTemper>): WorldPlan {
  const ends = plan.ends.map((end, life): End => ({
    kind: "cut",
    atEvent: 400 + (plan.deviceBlocks * 37 + life * 613) % 1500,
    stopAfterMs: end.kind === "stop" ? end.afterMs + 1000 : end.stopAfterMs,
  }));
  return {
    ...plan,
    intentGenerationMs: 0,
    maxAgeMs: 20,
    driveTemper: { ...SOUND_DRIVE, ...temper },
    ends,
  };
}

/** R4: a page of the dirty map that the drive refused counts as written. */
class PageWriteBelieved extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { metadataFailOneIn: 4 });
  }

  override patch(): () => void {
    const { written } = IntentGate.prototype;
    return replace(IntentGate.prototype, {
      written(this: IntentGate, tag: number, res: number) {
        written.call(this, tag, Math.max(0, res));
      },
    });
  }
}

/** R5: marks go after a flush of the primary that failed. */
class FlushBelieved extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { flushFailOneIn: 2 });
  }

  override disk(disk: Disk): Disk {
    return { ...disk, flush: () => disk.flush().catch(() => undefined) };
  }
}

/** R5: marks go after a flush that succeeds, whatever an earlier one has lost. */
class LossForgotten extends Bugs {
  #words: Int32Array | null = null;

  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { flushFailOneIn: 8, flushLoses: true });
  }

  override memory({ words }: SharedViews): void {
    this.#words = words;
  }

  override patch(): () => void {
    const { step } = IntentCleaner.prototype;
    const forget = () => this.#words?.fill(0, WORD.failedFlush, WORD.failedFlush + 1);
    return replace(IntentCleaner.prototype, {
      step(this: IntentCleaner, coverage: Coverage) {
        forget();
        return step.call(this, coverage);
      },
    });
  }
}

/** R5: the region of a block that nobody could read is taken off the dirty map. */
class UnreadableForgotten extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    const bad = { sectors: 8, fromMs: 1000, untilMs: Infinity, untilLife: Infinity };
    const starts = [0, 3, 7].map((block) => block * UNIT_BYTES / SECTOR);
    const defects = starts.map((startSector) => ({ ...bad, startSector }));
    const ends = plan.ends.map((): End => ({ kind: "stop", afterMs: 6000 }));
    const preset = true;
    return { ...failing(plan, { defects }), preset, skipInitialSync: false, ends };
  }

  override patch(): () => void {
    return replace(UnreadableBlocks.prototype, { aside: () => [] });
  }
}

/** By name; for each a way to make one for a world. */
export const PLANTED_DRIVE_BUGS: Readonly<Record<string, () => Bugs>> = {
  "refused page write believed": () => new PageWriteBelieved(),
  "failed flush believed": () => new FlushBelieved(),
  "loss of a failed flush forgotten": () => new LossForgotten(),
  "unreadable block forgotten": () => new UnreadableForgotten(),
};
