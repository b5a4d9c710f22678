// Classic bugs. The oracle must find each of them within a few worlds (planted_bugs_test.ts): if it
// does not, it is the oracle that is broken.

import { SECTOR } from "../../src/base/units.ts";
import type { Disk } from "../../src/primary/disk.ts";
import { type Collected, Collector } from "../../src/replicator/collector.ts";
import { Committer } from "../../src/replicator/committer.ts";
import type { ReplicatorRoomOptions } from "../../src/replicator/room_options.ts";
import { type Coverage, IntentCleaner } from "../../src/replicator/intent_cleaner.ts";
import { History } from "../../src/shared/history.ts";
import { IntentMap } from "../../src/shared/intent_map.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { RegionGrid } from "../../src/shared/region_grid.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";
import { Pool } from "../../src/shared/pool.ts";
import { UBLK_IO_OP_DISCARD } from "../../src/ublk/uapi.ts";
import type { Failpoint } from "../../src/base/failpoints.ts";
import { type End, UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { Bugs } from "./bugs.ts";
import { replace } from "./patch.ts";
import { PLANTED_DRIVE_BUGS } from "./planted_drive_bugs.ts";
import { PLANTED_RESUME_BUGS } from "./planted_resume_bugs.ts";
import { PLANTED_STORE_BUGS } from "./planted_store_bugs.ts";
import { PLANTED_VERIFY_BUGS } from "./planted_verify_bugs.ts";
import type { SimDrive } from "./sim_drive.ts";
import { SimQueue, type SimQueueOptions, type SimRequest } from "./sim_queue.ts";

class NoIntervalLock extends Bugs {
  override patch(): () => void {
    return replace(IntervalLock.prototype, { tryLock: () => true, unlock: () => {} });
  }
}

class AckBeforeCapture extends Bugs {
  override queue(options: SimQueueOptions): SimQueue {
    return new class extends SimQueue {
      override writePrimary(tag: number, stage: number, length: number, durable: boolean): void {
        // Answered as soon as it is sent to the pool, long before it is there.
        super.writePrimary(tag, stage, length, durable);
        this.answerEarly(tag);
      }
    }(options);
  }
}

class FlushNotPassedOn extends Bugs {
  override queue(options: SimQueueOptions): SimQueue {
    return new class extends SimQueue {
      override flushPrimary(tag: number, stage: number): void {
        this.completeAtOnce(tag, stage);
      }
    }(options);
  }
}

class FuaIgnored extends Bugs {
  override queue(options: SimQueueOptions): SimQueue {
    return new class extends SimQueue {
      override writePrimary(tag: number, stage: number, length: number): void {
        super.writePrimary(tag, stage, length, false);
      }
    }(options);
  }
}

class DiscardNotLogged extends Bugs {
  override queue(options: SimQueueOptions): SimQueue {
    return new class extends SimQueue {
      override issue(tag: number, request: SimRequest): void {
        if (request.op !== UBLK_IO_OP_DISCARD || request.change === null) {
          super.issue(tag, request);
          return;
        }
        const { drive, process } = options;
        drive.change(
          { process, op: request.change, source: null, durable: false },
          (res) => request.answer(res),
        );
      }
    }(options);
  }
}

class ReleaseBeforeCommit extends Bugs {
  #pool: Pool | null = null;

  override memory(views: SharedViews): void {
    this.#pool = new Pool(views);
  }

  override patch(): () => void {
    const { collect } = Collector.prototype;
    const released = () => this.#pool;
    return replace(Collector.prototype, {
      collect(this: Collector) {
        const collected = collect.call(this);
        released()?.release(collected.endPosition);
        return collected;
      },
    });
  }
}

/** Crashes around a failpoint of the dirty map, in worlds that take marks off all the time. */
function crashingAround(plan: WorldPlan, failpoint: Failpoint): WorldPlan {
  const ends = plan.ends.map((end, life): End => ({
    kind: life % 2 === 0 ? "cut" : "kill",
    failpoint,
    hit: 1 + life * 2 % 5,
    eventsLater: 1 + (plan.deviceBlocks * 7 + life * 13) % 50,
    stopAfterMs: end.kind === "stop" ? 3000 : end.stopAfterMs + 2000,
  }));
  return { ...plan, intentGenerationMs: 0, maxAgeMs: 400, ends };
}

/** R4: a region that somebody else asked for already is taken for durable. */
class SecondWriterDoesNotWait extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return crashingAround(plan, "intent.before-write");
  }

  #wanted: Int32Array = new Int32Array(0);

  override memory(views: SharedViews): void {
    this.#wanted = views.intent.wanted;
  }

  override patch(): () => void {
    const { require } = IntentMap.prototype;
    const isWanted = (region: number) => (this.#wanted[region >>> 5] >>> (region & 31) & 1) === 1;
    return replace(IntentMap.prototype, {
      require(this: IntentMap, first: number, last: number) {
        let allWanted = true;
        for (let region = first; region <= last; region++) allWanted &&= isWanted(region);
        const page = require.call(this, first, last);
        return allWanted ? -1 : page;
      },
    });
  }
}

/** R4: of a block that lies across a border only the region of its beginning is named. */
class BorderOverlooked extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return { ...crashingAround(plan, "queue.after-primary"), regionBytes: oddRegions(plan) };
  }

  override patch(): () => void {
    const { firstRegion } = RegionGrid.prototype;
    return replace(RegionGrid.prototype, { lastRegion: firstRegion });
  }
}

/** Regions that begin and end inside blocks. */
function oddRegions({ regionBytes }: WorldPlan): number {
  return regionBytes % UNIT_BYTES === 0 ? regionBytes + SECTOR : regionBytes;
}

/** R5: marks go before a published checkpoint has the writes. */
class ClearBeforeCommit extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return crashingAround(plan, "intent.after-clear-write");
  }

  #pool: Pool | null = null;

  override memory(views: SharedViews): void {
    this.#pool = new Pool(views);
  }

  override patch(): () => void {
    const { step } = IntentCleaner.prototype;
    const head = () => this.#pool?.head() ?? 0;
    return replace(IntentCleaner.prototype, {
      step(this: IntentCleaner, coverage: Coverage) {
        return step.call(this, { ...coverage, committedPosition: head() });
      },
    });
  }
}

/** R5: the set is read, and later reset as a whole, with what came in between. */
class CollectThenReset extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return crashingAround(plan, "intent.after-clear-write");
  }

  #durable: Int32Array = new Int32Array(0);

  override memory(views: SharedViews): void {
    this.#durable = views.intent.durable;
  }

  override patch(): () => void {
    const reset = () => {
      const cleared = this.#durable.some((word) => word !== 0);
      this.#durable.fill(0);
      return cleared ? 1 : 0;
    };
    return replace(IntentMap.prototype, { clearUntouched: () => reset() });
  }
}

class MetadataNotFlushed extends Bugs {
  override disk(disk: Disk): Disk {
    return { ...disk, flush: () => Promise.resolve() };
  }
}

class AttachAfterCrash extends Bugs {
  override roomOptions(options: ReplicatorRoomOptions): ReplicatorRoomOptions {
    return options.primaryState === "active" ? { ...options, primaryState: "clean" } : options;
  }
}

class WrongDirection extends Bugs {
  override starts(drive: SimDrive, crashed: boolean): void {
    if (!crashed) return;
    // "Restores" what the replica lacks: here a block of zeros.
    drive.bytes.fill(0, 0, 4096);
  }
}

/** R9: what resync gathers is published at once. */
class PublishDuringResync extends Bugs {
  override patch(): () => void {
    const { commit } = Committer.prototype;
    return replace(Committer.prototype, {
      commit(this: Committer, collected: Collected) {
        return commit.call(this, collected, true);
      },
    });
  }
}

/** R7: the pool was full, and nobody remembers from where on the ring lacks writes. */
class HistoryGoesOn extends Bugs {
  override patch(): () => void {
    return replace(History.prototype, { endAtHead: () => {} });
  }
}

/** R9: resync lets go of the chunks that it copies before it has read them. */
class ResyncHoldsNoLock extends Bugs {
  #lock: IntervalLock | null = null;

  override memory(views: SharedViews): void {
    this.#lock = new IntervalLock(views);
  }

  override patch(): () => void {
    const { take } = StaleMap.prototype;
    const { unlock } = IntervalLock.prototype;
    const lock = () => this.#lock;
    const undoTake = replace(StaleMap.prototype, {
      take(this: StaleMap, chunk: number, count: number) {
        take.call(this, chunk, count);
        lock()?.unlock(this.firstBlock(chunk), this.blocksOf(chunk, count));
      },
    });
    const undoUnlock = replace(IntervalLock.prototype, {
      unlock(this: IntervalLock, startBlock: number, blockCount: number) {
        try {
          unlock.call(this, startBlock, blockCount);
        } catch (error) {
          if (!(error instanceof Error)) throw error; // unlocked twice: that is the bug
        }
      },
    });
    return () => {
      undoTake();
      undoUnlock();
    };
  }
}

/** By name; for each a way to make one for a world. */
export const PLANTED_BUGS: Readonly<Record<string, () => Bugs>> = {
  "no interval lock": () => new NoIntervalLock(),
  "ack before capture": () => new AckBeforeCapture(),
  "flush not passed on": () => new FlushNotPassedOn(),
  "FUA ignored": () => new FuaIgnored(),
  "discard not logged": () => new DiscardNotLogged(),
  "release before commit": () => new ReleaseBeforeCommit(),
  "second writer before the intent is durable": () => new SecondWriterDoesNotWait(),
  "border of a region overlooked": () => new BorderOverlooked(),
  "clear before commit": () => new ClearBeforeCommit(),
  "collect, then reset": () => new CollectThenReset(),
  "publish during resync": () => new PublishDuringResync(),
  "history goes on past a full pool": () => new HistoryGoesOn(),
  "resync holds no lock": () => new ResyncHoldsNoLock(),
  "metadata not flushed": () => new MetadataNotFlushed(),
  "attach after a crash": () => new AttachAfterCrash(),
  "wrong direction": () => new WrongDirection(),
  ...PLANTED_RESUME_BUGS,
  ...PLANTED_DRIVE_BUGS,
  ...PLANTED_STORE_BUGS,
  ...PLANTED_VERIFY_BUGS,
};
