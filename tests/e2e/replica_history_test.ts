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
  { queues: 1, congestion: "block", checkpoints: scaled(8, 200) },
  { queues: 4, congestion: "resync", checkpoints: 2 },
  { queues: 4, congestion: "block", checkpoints: 200 },
].slice(0, scaled(2, 3));

for (const { queues, congestion, checkpoints } of RUNS) {
  const name = `on ${queues} queues, congestion ${congestion}`;
  Deno.test(`every checkpoint is a prefix of the write history, ${name}`, async () => {
    const seed = seedOf(`replica on ${queues} queues`);
    const seconds = scaled(15, 300);
    await replicaGuest(
      `
      mkfs.ext4 -q "$DISK1"; mkdir /run/disk; mount "$DISK1" /run/disk; REPLICA_ROOT=/run/disk/replica
      formatted "$DISK0"
      added "$DISK0" -q ${queues} --pool-size 16MiB --congestion ${congestion}
      stamped ${seconds} ${seed}
      stopped "after the writes"
      saved`,
      async ({ share, primary }) => {
        const { history } = readHistory(share);
        assertEquals(history.failed, 0);
        const verdict = await checkReplica(await onlyChild(`${share}/replica`), share);
        await checkEqual(primary, verdict.head);
        assert(verdict.checkpoints >= checkpoints, `only ${verdict.checkpoints} checkpoints`);
        assert(verdict.held > 0.8 * sum(history.issued), "a stop brings everything to the replica");
      },
      { disks: [{ sizeBytes: 16 * GiB }], timeLimitMs: (seconds + 300) * 1000 },
    );
  });
}
