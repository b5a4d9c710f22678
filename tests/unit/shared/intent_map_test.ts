import { assert, assertEquals } from "../../support/assert.ts";
import { atEveryOperation } from "../../support/preemption.ts";
import { twoGates } from "../../support/two_gates.ts";
import { PAGE_BYTES } from "../../../src/format/sealed_page.ts";
import type { IntentMap } from "../../../src/shared/intent_map.ts";
import { INTENT_PAGE_WORDS } from "../../../src/shared/layout.ts";

const REGION = 7;
/** Every region of both pages. */
const ALL = new Int32Array(2 * INTENT_PAGE_WORDS).fill(-1);

/** A region that is named, and that nobody has touched in this generation. */
function namedRegion() {
  const { gates: [gate], map, views } = twoGates();
  gate.pass(0, REGION, REGION);
  gate.written(0, PAGE_BYTES);
  map.beginGeneration();
  return { map, views, passed: false, parity: -1 };
}

/** What a queue does with a change: true when it may go to the primary. */
function enters(map: IntentMap, qid: number): boolean {
  map.enter(qid);
  return map.require(REGION, REGION) < 0;
}

Deno.test("a mark that is taken off stops a change, or the change stops that, at whatever moment", async () => {
  const others: Record<string, (map: IntentMap) => void> = {
    clear: (map) => void map.clearUntouched(0, ALL),
    "clear, then another change": (map) => {
      map.clearUntouched(0, ALL);
      enters(map, 1);
    },
    "another change, then clear": (map) => {
      enters(map, 1);
      map.clearUntouched(0, ALL);
    },
  };
  for (const [what, meanwhile] of Object.entries(others)) {
    await atEveryOperation(namedRegion, {
      body: (world) => world.passed = enters(world.map, 0),
      meanwhile: ({ map }) => meanwhile(map),
      check: ({ map, passed }, operation) =>
        assert(!passed || map.isDurable(REGION), `${what} before operation ${operation}`),
    });
  }
  await atEveryOperation(namedRegion, {
    body: ({ map }) => void map.clearUntouched(0, ALL),
    meanwhile: (world) => world.passed = enters(world.map, 0),
    check: ({ map, passed }, operation) =>
      assert(!passed || map.isDurable(REGION), `a change before operation ${operation}`),
  });
});

Deno.test("a change that passed is counted where the next round looks, at whatever moment", async () => {
  for (const rounds of [1, 2, 3]) {
    await atEveryOperation(namedRegion, {
      body: (world) => world.parity = world.map.enter(0),
      meanwhile({ map }) {
        for (let round = 0; round < rounds; round++) map.beginGeneration();
      },
      check({ map, parity }, operation) {
        assertEquals(map.beginGeneration(), parity, `${rounds} rounds before ${operation}`);
        assertEquals(map.inFlight(parity), 1);
        map.leave(0, parity);
        assertEquals([map.inFlight(0), map.inFlight(1)], [0, 0]);
      },
    });
  }
});

Deno.test("a wish that comes while a page is composed is kept", async () => {
  await atEveryOperation(
    () => {
      const { map } = twoGates();
      map.require(1, 1);
      assert(map.tryLock(0), "nobody else writes");
      return { map, wished: false };
    },
    {
      body({ map }) {
        map.compose(0);
        map.complete(0);
      },
      meanwhile(world) {
        world.map.require(2, 2);
        world.wished = true;
      },
      check({ map, wished }, operation) {
        assert(map.isDurable(1), "what was wanted before is named");
        // Named now, or with the next write.
        map.compose(0);
        map.complete(0);
        assertEquals(map.isDurable(2), wished, `before operation ${operation}`);
      },
    },
  );
});
