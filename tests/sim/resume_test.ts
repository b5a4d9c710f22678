// A copy of the whole device that crashes cut short again and again sends about the device once, not once
// per crash: what was staged is not sent again.

import type { ObjectStore } from "../../src/replica/object_store.ts";
import { totalBytes } from "../../src/replica/gather.ts";
import { parseSegmentKey } from "../../src/format/segment.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { Bugs } from "./bugs.ts";
import { UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { withPut } from "./patch.ts";
import { runWorld } from "./run_world.ts";

const DEVICE_BLOCKS = 1024;
const CRASHES = 4;

/** A calm world with a long first copy; counts the bytes of segments that each life sends. */
class LongCopy extends Bugs {
  readonly sentBytes: number[] = [];
  readonly #kind: "kill" | "cut";

  constructor(kind: "kill" | "cut") {
    super();
    this.#kind = kind;
  }

  override plan(plan: WorldPlan): WorldPlan {
    return {
      ...plan,
      deviceBlocks: DEVICE_BLOCKS,
      regionBytes: 8 * UNIT_BYTES,
      poolUnits: 128,
      batchBlocks: 64,
      preset: true,
      skipInitialSync: false,
      resyncRate: 512 * 1024,
      intentGenerationMs: 100,
      habits: { ...plan.habits, hotBlocks: 8, thinkMs: 60, ioBlocks: 1, discards: 0, zeroes: 0 },
      driveFailOneIn: 0,
      storeLatencyMs: 1,
      storeFailOneIn: 0,
      storeGarbageOneIn: 0,
      storeConflictOneIn: 0,
      orderOneIn: 0,
      outages: [],
      ends: Array.from({ length: CRASHES }, () => ({
        kind: this.#kind,
        failpoint: "staged.after-write",
        hit: 6,
        eventsLater: 0,
        stopAfterMs: 20_000,
      } as const)),
    };
  }

  override starts(): void {
    this.sentBytes.push(0);
  }

  override store(store: ObjectStore): ObjectStore {
    const life = this.sentBytes.length - 1;
    return withPut(store, (key, chunks, options) => {
      if (parseSegmentKey(key) !== null) this.sentBytes[life] += totalBytes(chunks);
      return store.put(key, chunks, options);
    });
  }
}

for (const kind of ["kill", "cut"] as const) {
  Deno.test(`a first copy that is cut short (${kind}) goes on where it stopped`, async () => {
    const bugs = new LongCopy(kind);
    const { failure, crashes, staged } = await runWorld(7, { bugs });
    assertEquals([failure, crashes], [null, CRASHES]);
    assert(staged > 0, "crashes left regions staged");
    const deviceBytes = DEVICE_BLOCKS * UNIT_BYTES;
    const sent = bugs.sentBytes.slice(0, CRASHES + 1).map((bytes) => bytes / deviceBytes);
    const sum = sent.reduce((a, b) => a + b);
    assert(sum < 1.5, `the device was sent ${sum} times: ${sent}`);
    assert(sent[CRASHES] < 0.3, `the last life sends ${sent[CRASHES]} of the device`);
  });
}
