// Planted bugs in what goes to the object store, and in what is made of its answers.

import { ReplicaError } from "../../src/base/errors.ts";
import { viewOf } from "../../src/base/struct.ts";
import { INODE_KEY, InodeRecord } from "../../src/format/inode.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { type Coverage, IntentCleaner } from "../../src/replicator/intent_cleaner.ts";
import { MarkedBlocks } from "../../src/replicator/marked_blocks.ts";
import { isCapturing } from "../../src/shared/capture_mode.ts";
import type { SharedViews } from "../../src/shared/layout.ts";
import { Pool } from "../../src/shared/pool.ts";
import { StaleMap } from "../../src/shared/stale_map.ts";
import { Bugs } from "./bugs.ts";
import { replace, withPut } from "./patch.ts";
import type { End, WorldPlan } from "./plan.ts";

/** Machines are lost between segment and inode, and their processes go on. */
function losingMachines(plan: WorldPlan): WorldPlan {
  const ends = plan.ends.map((end, life): End => ({
    kind: "lost",
    failpoint: "commit.after-segment",
    hit: life === 0 ? 1 + plan.depth : 3,
    eventsLater: 1,
    stopAfterMs: end.kind === "stop" ? 1000 : end.stopAfterMs,
  }));
  // Nothing to copy first, so that what is stored is published; nobody is told before it tries.
  return {
    ...plan,
    claimLookMs: 30_000,
    preset: false,
    skipInitialSync: true,
    storeFailOneIn: 0,
    ends,
  };
}

class InodeBeforeSegment extends Bugs {
  override store(store: ObjectStore): ObjectStore {
    return withPut(store, (key, chunks, options) => {
      if (!/^\d+$/.test(key)) return store.put(key, chunks, options);
      // Reported as done while it is still on its way.
      const bytes = chunks.map((chunk) => chunk.slice());
      store.put(key, bytes, options).catch(() => undefined);
      return Promise.resolve({ stored: true, etag: "" });
    });
  }
}

/** R13: the store takes a put of the inode whatever its condition. */
class ConditionIgnored extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    return losingMachines(plan);
  }

  override store(store: ObjectStore): ObjectStore {
    return withPut(store, (key, chunks, options) => {
      const plain = key === INODE_KEY ? { ...options, condition: undefined } : options;
      return store.put(key, chunks, plain);
    });
  }
}

/** R13: a claim that leaves the inode, and with it its etag, as it was. */
class EarlierWriterNotLockedOut extends Bugs {
  override store(store: ObjectStore): ObjectStore {
    return withPut(store, async (key, chunks, options) => {
      const { condition } = options ?? {};
      if (key === INODE_KEY && condition !== undefined && "etag" in condition) {
        const known = await store.get(key, options);
        const { lastCno } = InodeRecord.offset;
        const put = viewOf(chunks[0]).getBigUint64(lastCno, true);
        if (known !== null && viewOf(known.bytes).getBigUint64(lastCno, true) === put) {
          return { stored: true, etag: condition.etag };
        }
      }
      return await store.put(key, chunks, options);
    });
  }
}

/** R13: a put of the inode that is refused is another writer's work, whatever lies there. */
class RefusalBelieved extends Bugs {
  override store(store: ObjectStore): ObjectStore {
    return withPut(store, async (key, chunks, options) => {
      const put = await store.put(key, chunks, options);
      if (put.stored || key !== INODE_KEY) return put;
      throw new ReplicaError("fenced", "another writer has committed to this replica");
    });
  }
}

/** R6: what the store did not take is kept beside the pool and sent again from there. */
class FailedPutKept extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    const outages = [{ fromMs: 600, untilMs: 30_000, hangs: false }];
    return { ...plan, outages, ends: [{ kind: "stop", afterMs: 20_000 }] };
  }

  override store(store: ObjectStore): ObjectStore {
    return withPut(store, async (key, chunks, options) => {
      try {
        return await store.put(key, chunks, options);
      } catch (error) {
        const kept = chunks.map((chunk) => chunk.slice());
        const again = (): void => void store.put(key, kept, options).catch(again);
        again();
        throw error;
      }
    });
  }
}

/** R13: a daemon that was taken over goes on clearing its dirty map, as if it still published. */
class FencedMarksGo extends Bugs {
  #views: SharedViews | null = null;

  override plan(plan: WorldPlan): WorldPlan {
    const rival = { kind: "rival", stopAfterMs: 300, rivalMs: 3000, rivalStops: true } as const;
    const ends = [{ ...rival, isForced: true }];
    return { ...plan, intentGenerationMs: 0, claimLookMs: 50, storeGarbageOneIn: 0, ends };
  }

  override memory(views: SharedViews): void {
    this.#views = views;
  }

  override patch(): () => void {
    const { step } = IntentCleaner.prototype;
    const { count } = StaleMap.prototype;
    // The first cleaner is the loser's; the rival has one, too.
    let loser: IntentCleaner | null = null;
    let isBlind = false;
    const published = (coverage: Coverage) => {
      const views = this.#views;
      if (views === null || isCapturing(views.words)) return coverage;
      return { ...coverage, committedPosition: new Pool(views).head(), chain: null };
    };
    const undoStep = replace(IntentCleaner.prototype, {
      step(this: IntentCleaner, coverage: Coverage) {
        loser ??= this;
        const seen = loser === this ? published(coverage) : coverage;
        isBlind = seen !== coverage;
        const stepped = step.call(this, seen);
        isBlind = false;
        return stepped;
      },
    });
    const undoCount = replace(StaleMap.prototype, {
      count(this: StaleMap) {
        return isBlind ? 0 : count.call(this);
      },
    });
    return () => {
      undoStep();
      undoCount();
    };
  }
}

/** R12: a snapshot takes what its original went on to write for its own, whatever its maps name. */
class SnapshotBelieved extends Bugs {
  override plan(plan: WorldPlan): WorldPlan {
    const rival = { kind: "rival", stopAfterMs: 600, rivalStops: true, isForced: false } as const;
    return { ...plan, ends: [{ ...rival, rivalMs: 0 }, { ...rival, rivalMs: 900 }] };
  }

  override patch(): () => void {
    return replace(MarkedBlocks.prototype, { has: () => true });
  }
}

/** By name; for each a way to make one for a world. */
export const PLANTED_STORE_BUGS: Readonly<Record<string, () => Bugs>> = {
  "inode before segment": () => new InodeBeforeSegment(),
  "condition ignored": () => new ConditionIgnored(),
  "earlier writer not locked out": () => new EarlierWriterNotLockedOut(),
  "refusal believed": () => new RefusalBelieved(),
  "marks of a fenced daemon go": () => new FencedMarksGo(),
  "failed put kept": () => new FailedPutKept(),
  "snapshot believed": () => new SnapshotBelieved(),
};
