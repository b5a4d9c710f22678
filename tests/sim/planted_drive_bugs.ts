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
import { SimQueue, type SimQueueOptions } from "./sim_queue.ts";

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

/** The guest is told of what failed: what is planted is the rest. */
abstract class ToldBug extends Bugs {
  #words: Int32Array | null = null;
  /** It failed before there was a memory. */
  #isOwed = false;

  override memory({ words }: SharedViews): void {
    this.#words = words;
    if (this.#isOwed) this.tell();
  }

  override starts(): void {
    this.#words = null;
    this.#isOwed = false;
  }

  tell(): void {
    this.#isOwed = this.#words === null;
    this.#words?.fill(1, WORD.untoldFlush, WORD.untoldFlush + 1);
  }
}

/** R4: a page of the dirty map that the drive refused counts as written. */
class PageWriteBelieved extends ToldBug {
  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { metadataFailOneIn: 12 });
  }

  override patch(): () => void {
    const { written } = IntentGate.prototype;
    const tell = () => this.tell();
    return replace(IntentGate.prototype, {
      written(this: IntentGate, tag: number, res: number) {
        if (res < 0) tell();
        written.call(this, tag, Math.max(0, res));
      },
    });
  }
}

/** R5: marks go after a flush of the primary that failed. */
class FlushBelieved extends ToldBug {
  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { flushFailOneIn: 2 });
  }

  override disk(disk: Disk): Disk {
    return { ...disk, flush: () => disk.flush().catch(() => this.tell()) };
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

/** A flush of ours failed, and the guest's next one says that all is safe. */
class FailureNotTold extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return failing(plan, { flushFailOneIn: 4, flushLoses: true, lossIsTold: false });
  }

  override queue(options: SimQueueOptions): SimQueue {
    return new class extends SimQueue {
      override flushPrimary(tag: number, stage: number): void {
        options.views.words[WORD.untoldFlush] = 0;
        super.flushPrimary(tag, stage);
      }
    }(options);
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
  "failure not told to the guest": () => new FailureNotTold(),
  "unreadable block forgotten": () => new UnreadableForgotten(),
};
