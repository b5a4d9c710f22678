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

for (const queues of [1, 4]) {
  Deno.test(`every checkpoint is a prefix of the write history, on ${queues} queues`, async () => {
    const seed = seedOf(`replica on ${queues} queues`);
    const seconds = scaled(20, 300);
    await replicaGuest(
      `
      mkfs.ext4 -q "$DISK1"; mkdir /run/disk; mount "$DISK1" /run/disk; REPLICA_ROOT=/run/disk/replica
      formatted "$DISK0"
      added "$DISK0" -q ${queues} --pool-size 16MiB
      stamped ${seconds} ${seed}
      stopped "after the writes"
      saved`,
      async ({ share, primary }) => {
        const { history } = readHistory(share);
        assertEquals(history.failed, 0);
        const verdict = await checkReplica(await onlyChild(`${share}/replica`), share);
        await checkEqual(primary, verdict.head);
        assert(verdict.checkpoints >= scaled(8, 200), `only ${verdict.checkpoints} checkpoints`);
        assert(verdict.held > 0.8 * sum(history.issued), "a stop brings everything to the replica");
      },
      { disks: [{ sizeBytes: 16 * GiB }], timeLimitMs: (seconds + 300) * 1000 },
    );
  });
}

Deno.test("a killed daemon leaves a prefix on the replica and synced writes on the primary", async () => {
  const seed = seedOf("killed daemon");
  const rounds = scaled(1, 20);
  await replicaGuest(
    `
    shared=$SHARE
    for round in $(seq ${rounds}); do
      SHARE=$shared/round-$round; mkdir "$SHARE"
      blkdiscard -f "$DISK0"; rm -rf "$REPLICA_ROOT"
      formatted "$DISK0"
      added "$DISK0" -q 2 --pool-size 16MiB
      stamped 60 $((${seed} + round * 16)) &
      sleep $((6 + (${seed} + round) % 7))
      kill -KILL $(daemon)
      wait
      io del -n 0 || fail del
      gone killed
      cp "$DISK0" "$SHARE/after-kill.img" || fail cp
      cp -r "$REPLICA_ROOT" "$SHARE/killed" || fail cp
      added "$DISK0" -q 2
      stopped again
      cp "$DISK0" "$SHARE/synced.img" || fail cp
      saved
    done`,
    async ({ share }) => {
      for (let round = 1; round <= rounds; round++) await checkKilled(`${share}/round-${round}`);
    },
    { primaryMib: 24, timeLimitMs: (rounds * 120 + 120) * 1000 },
  );
});

async function checkKilled(folder: string): Promise<void> {
  const { history, checker } = readHistory(folder);
  assert(history.failed !== 0, "the writer met the kill");
  // The primary right after the kill: a state of the history in which nothing synced is missing.
  const image = Deno.readFileSync(`${folder}/after-kill.img`);
  const held = checker.holds(image.subarray(0, history.shape.blocks * 4096));
  for (const [thread, { greatest }] of held.entries()) {
    const synced = history.synced[thread];
    assert(greatest >= synced, `primary holds ${greatest} of thread ${thread}, synced ${synced}`);
  }
  await checkReplica(await onlyChild(`${folder}/killed`), folder);
  // After the second start the two are equal again; every checkpoint still is a prefix.
  const verdict = await checkReplica(await onlyChild(`${folder}/replica`), folder);
  await checkEqual(`${folder}/synced.img`, verdict.head);
}
