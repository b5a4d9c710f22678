// io-replica on a real ublk driver: writes with stamps from several threads, then, on this side of
// the guest, every checkpoint must be a prefix of the history and the replica equal to the primary.

import { GiB } from "../../src/base/units.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { seedOf } from "../support/prng.ts";
import { onlyChild, replicaGuest } from "../support/replica_guest.ts";
import { scaled } from "../support/soak.ts";
import { checkEqual, checkReplica, readHistory } from "../support/stamp_history.ts";

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

/** With --congestion block the history has no gaps; without, the pool overflows and is resynced. */
const RUNS = [
  { queues: 1, congestion: "block" },
  { queues: 4, congestion: "resync" },
  { queues: 4, congestion: "block" },
].slice(0, scaled(2, 3));
/** Of all runs together: how many there are depends on the machine. */
const CHECKPOINTS_LEAST = scaled(10, 200);

Deno.test("every checkpoint is a prefix of the write history", async () => {
  const seed = seedOf("write history");
  const seconds = scaled(15, 300);
  const runs = RUNS.map(({ queues, congestion }, i) => `history ${i} ${queues} ${congestion}`);
  await replicaGuest(
    `
    mkfs.ext4 -q "$DISK1"; mkdir /run/disk; mount "$DISK1" /run/disk
    shared=$SHARE
    history() {
      SHARE=$shared/run-$1; mkdir "$SHARE"
      REPLICA_ROOT=/run/disk/replica-$1
      blkdiscard -f "$DISK0"
      formatted "$DISK0"
      added "$DISK0" -q "$2" --pool-size 16MiB --congestion "$3"
      queues "$2"
      stamped ${seconds} $((${seed} + $1))
      stopped "run $1"
      cp "$DISK0" "$SHARE/primary.img" || fail cp
      mv "$REPLICA_ROOT" /run/disk/replica; REPLICA_ROOT=/run/disk/replica
      saved
      rm -r "$REPLICA_ROOT"
    }
    ${runs.join("\n")}`,
    async ({ share }) => {
      let judged = 0;
      for (const [i, { queues, congestion }] of RUNS.entries()) {
        const folder = `${share}/run-${i}`;
        const { history } = readHistory(folder);
        assertEquals(history.failed, 0);
        const { checkpoints, held, head } = await checkReplica(
          await onlyChild(`${folder}/replica`),
          folder,
        );
        await checkEqual(`${folder}/primary.img`, head);
        const issued = sum(history.issued);
        // deno-lint-ignore no-console -- the figures are what a soak is for
        console.log(
          `${queues} queues, congestion ${congestion}: ${checkpoints} checkpoints, all prefixes; ` +
            `${issued} writes`,
        );
        assert(held > 0.8 * issued, "a stop brings everything to the replica");
        judged += checkpoints;
      }
      assert(judged >= CHECKPOINTS_LEAST, `only ${judged} checkpoints`);
    },
    {
      cpus: 4,
      disks: [{ sizeBytes: 16 * GiB }],
      timeLimitMs: (RUNS.length * (seconds + 150) + 150) * 1000,
    },
  );
});
