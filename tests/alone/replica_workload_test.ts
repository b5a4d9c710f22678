// io-replica under file systems, discards and fio's verification, on a drive and on a file; and with
// a replica that is much slower than the writes.

import { GiB, MiB } from "../../src/base/units.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";
import { IS_SOAK, scaled } from "../support/soak.ts";

/** Whose device is stopped, started and written once more. */
const QUEUES_AGAIN = scaled("4", "1 4");

Deno.test("a file system with discards is the same on both sides, on a drive and on a file", async () => {
  await replicaGuest(
    `
    mkfs.ext4 -q "$DISK1"; mkdir /run/b; mount "$DISK1" /run/b; truncate -s 96M /run/b/file
    for target in "$DISK0 1" "/run/b/file 4"; do
      set -- $target
      formatted "$1"
      added "$1" -q "$2" --pool-size 64MiB
      queues "$2"
      exercise
      stopped "$1"
      equal "$1" "$2 queues"
      [[ " ${QUEUES_AGAIN} " = *" $2 "* ]] || continue
      added "$1" -q "$2" --pool-size 64MiB
      dd if=/dev/urandom of=/dev/ublkb0 bs=64k seek=7 count=100 oflag=direct status=none || fail dd
      stopped "$1 again"
      equal "$1" "$2 queues, attached again"
      grep -q 'startup=attached' /run/hyper-io-replica/"$UUID".log || fail "no clean attach"
    done`,
    ({ lines }) => {
      assertEquals(lines.filter((line) => line.startsWith("equal")), [
        "equal: 1 queues",
        ...IS_SOAK ? ["equal: 1 queues, attached again"] : [],
        "equal: 4 queues",
        "equal: 4 queues, attached again",
      ]);
    },
    { cpus: 4, primaryMib: 96, disks: [{ sizeBytes: 512 * MiB }], modules: ["loop"] },
  );
});

Deno.test("a slow replica costs time, never memory, errors or equality", async () => {
  const seconds = scaled(20, 600);
  await replicaGuest(
    `
    mkfs.ext4 -q "$DISK1"; mkdir /run/slow; mount "$DISK1" /run/slow; REPLICA_ROOT=/run/slow/replica
    formatted "$DISK0"
    added "$DISK0" -q 4 --pool-size 64MiB
    queues 4
    fio --name=load --filename=/dev/ublkb0 --rw=randwrite --bsrange=4k-64k --ioengine=io_uring \\
      --iodepth=16 --numjobs=4 --direct=1 --time_based --runtime=${seconds} \\
      --output=/run/fio.log || { cat /run/fio.log; fail fio; }
    grep -q 'err= 0' /run/fio.log || { cat /run/fio.log; fail "I/O errors"; }
    io stats -n 0 --json
    echo "peak $(peak_mib)"
    stopped "after the load"
    equal "$DISK0" "slow replica"`,
    ({ lines }) => {
      const stats = JSON.parse(lines.find((line) => line.startsWith("{")) ?? "{}");
      assert(stats.counters.marked > 0, "the pool was full");
      assertEquals(stats.counters.poolWaits, 0, "no write waited for the replica");
      assertEquals(stats.counters.errors, 0);
      const peak = Number(/^peak (\d+)$/m.exec(lines.join("\n"))?.[1]);
      // deno-lint-ignore no-console -- the figures are what a soak is for
      console.log(`${stats.counters.writes} writes, ${stats.counters.marked} marked, ${peak} MiB`);
      assert(peak <= 64 + 150, `the daemon took ${peak} MiB`);
      assertEquals(lines.at(-1), "equal: slow replica");
    },
    {
      cpus: 4,
      primaryMib: scaled(48, 256),
      disks: [{ sizeBytes: 16 * GiB, throttle: { bytesPerSecond: 4 * MiB } }],
      timeLimitMs: (seconds + 400) * 1000,
    },
  );
});
