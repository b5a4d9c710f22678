// The bare targets on a real ublk driver: what is written is on the primary, and whichever way a
// device ends, nothing of it is left.

import { MiB } from "../../src/base/units.ts";
import { assertEquals } from "../support/assert.ts";
import { scaled } from "../support/soak.ts";
import { ublkGuest } from "../support/ublk_guest.ts";

/** A device has at most as many queues as there are processors. */
const CPUS = 4;

/** Of the two forms of a device, on a file and on a drive, the short run takes one each. */
const QUEUES_ON_FILE = scaled("1", "1 4");
const QUEUES_ON_DRIVE = scaled("4", "1 4");

Deno.test("null serves fio on 1 and 4 queues; a loop on a file keeps what was written", async () => {
  const lines = await ublkGuest(
    `
    for queues in 1 4; do
      io add null -n 0 -q $queues --device-size 1GiB --quiet || fail add
      ls /sys/block/ublkb0/mq | wc -l
      fio --name=mixed --filename=/dev/ublkb0 --rw=randrw --bsrange=512-1M --time_based --runtime=1 \\
        --ioengine=io_uring --iodepth=64 --numjobs=4 --direct=1 --output=/run/fio.log || fail fio
      blkdiscard /dev/ublkb0 || fail blkdiscard
      io stop -n 0 || fail stop
      gone "null, $queues queues"
    done
    mkfs.ext4 -q "$DISK0"; mkdir /run/b; mount "$DISK0" /run/b; truncate -s 256M /run/b/file
    for queues in ${QUEUES_ON_FILE}; do
      io add loop -n 0 -f /run/b/file -q $queues --quiet || fail add
      echo "$(ls /sys/block/ublkb0/mq | wc -l) queues, $(queue write_cache), fua $(queue fua)"
      exercise
      kill -TERM "$(daemon)"
      gone "SIGTERM"
      same /run/b/file -o loop
    done
    io add loop -n 0 -f /run/b/file --buffered-io --quiet || fail add
    exercise
    io del -n 0; gone "buffered"
    same /run/b/file -o loop`,
    { cpus: CPUS, disks: [{ sizeBytes: 512 * MiB }], modules: ["loop"] },
  );
  assertEquals(lines, [
    ...["1", "gone: null, 1 queues", "4", "gone: null, 4 queues"],
    ...QUEUES_ON_FILE.split(" ").flatMap((queues) => [
      `${queues} queues, write back, fua 1`,
      "gone: SIGTERM",
      "same: /run/b/file",
    ]),
    "gone: buffered",
    "same: /run/b/file",
  ]);
});

Deno.test("a loop on a drive keeps what was written, has the drive's cache and blocks, and ends whichever way it is stopped", async () => {
  const lines = await ublkGuest(
    `
    mkdir -p /run/m
    for queues in ${QUEUES_ON_DRIVE}; do
      io add loop -n 0 -f "$DISK0" -q $queues --quiet || fail add
      exercise
      io del -n 0 || fail del
      gone "del"
      same "$DISK0"
    done
    mount "$DISK0" /run/m; io add loop -n 0 -f "$DISK0" 2>/dev/null; echo "mounted: $?"; umount /run/m
    for disk in "$DISK1" "$DISK2"; do
      io add loop -n 0 -f "$disk" --quiet || fail add
      echo "$(queue write_cache), fua $(queue fua), $(queue logical_block_size)"
      io del -n 0
      gone "del"
    done

    load() {
      fio --name=load --filename=/dev/ublkb0 --rw=randrw --bs=4k-64k --time_based --runtime=60 \\
        --ioengine=io_uring --iodepth=32 --numjobs=2 --direct=1 --output=/dev/null 2>/dev/null &
      sleep 2
    }
    end() { pkill -KILL fio; wait; gone "$1"; }
    for way in TERM KILL; do
      io add loop -n 0 -f "$DISK0" -q 2 --quiet || fail add
      echo "$(queue write_cache), fua $(queue fua), $(queue logical_block_size)"
      load
      kill -$way "$(daemon)"
      if [ $way = KILL ]; then sleep 1; io list --json | grep -o '"dead"' | sort -u; io del -n 0 || fail del; fi
      end $way
    done
    io add loop -n 0 -f "$DISK0" -q 2 --quiet || fail add
    load
    deno eval "import { removeDevice } from '$ROOT/src/ublk/driver.ts'; await removeDevice(0)" ||
      fail "stop by another program"
    end "another program"
    io list --json | tr -d ' \\n'`,
    {
      cpus: CPUS,
      disks: [
        { sizeBytes: 256 * MiB },
        { sizeBytes: 64 * MiB, cache: "writethrough" },
        { sizeBytes: 64 * MiB, logicalBlockBytes: 4096, physicalBlockBytes: 4096 },
      ],
      timeLimitMs: 500_000,
    },
  );
  assertEquals(lines, [
    ...QUEUES_ON_DRIVE.split(" ").flatMap(() => ["gone: del", "same: /dev/vda"]),
    "mounted: 2",
    ...["write through, fua 0, 512", "gone: del"],
    ...["write back, fua 1, 4096", "gone: del"],
    ...["write back, fua 1, 512", "gone: TERM"],
    ...["write back, fua 1, 512", '"dead"', "gone: KILL"],
    ...["gone: another program", "[]"],
  ]);
});
