// The dirty map on a real device: what is written is named at once, stays named over a kill, is all that
// the next start resends, and goes when the replica has it.

import { assert, assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";
import { IS_SOAK } from "../support/soak.ts";

/** A device that is started as for measurements, with every region dirty. */
const WITHOUT_MAP = `
    added "$DISK0" --pool-size 16MiB --without-write-intent
    named "without the map"
    stopped "at last"
    named "stopped again"`;

Deno.test("only regions that were written count as dirty, over a kill and until they are replicated", async () => {
  await replicaGuest(
    `
    named() { local map; map=$(dirty_ranges "$DISK0") || fail inspect; echo "named $1: $map"; }
    wrote() { dd if=/dev/urandom of=/dev/ublkb0 bs=4k count=1 seek=$(($1 * 256)) oflag=direct \\
      status=none || fail "write to region $1"; }
    counter() { io stats -n 0 --json | deno eval 'console.log(JSON.parse(
      await new Response(Deno.stdin.readable).text()).counters["'$1'"])'; }
    clean() { for i in $(seq 60); do [ "$(counter dirtyRegions)" = 0 ] && return; sleep .5; done
      fail "marks stay"; }

    formatted "$DISK0" --region-size 1MiB --device-size 64MiB
    named formatted
    added "$DISK0" --pool-size 16MiB
    clean
    for region in 5 9 10 62; do wrote $region; done
    kill -KILL $(daemon)
    sleep 1
    io del -n 0
    gone killed
    named killed
    added "$DISK0" --pool-size 16MiB
    clean
    echo "resent $(($(counter resyncedBytes) / 65536)) chunks"
    named replicated
    wrote 7
    stopped "after that"
    named stopped
    equal "$DISK0" "in the end"
    ${IS_SOAK ? WITHOUT_MAP : ""}`,
    ({ lines }) => {
      const named = lines.filter((line) => line.startsWith("named"));
      assertEquals(named, [
        "named formatted: []",
        "named killed: [[5,5],[9,10],[62,62]]",
        "named replicated: []",
        "named stopped: []",
        ...IS_SOAK ? ["named without the map: [[0,63]]", "named stopped again: []"] : [],
      ]);
      const chunks = Number(/^resent (\d+) chunks$/m.exec(lines.join("\n"))?.[1]);
      assert(
        chunks > 0 && chunks <= 4 * 16,
        `${chunks} chunks of 64 KiB for four regions of 1 MiB`,
      );
    },
    { primaryMib: 72 },
  );
});
