// A daemon that is killed under load leaves a prefix on the replica and everything synced on the
// primary; its next start resends the regions that the dirty map names, no others, and soon.

import { GiB, MiB } from "../../src/base/units.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { seedOf } from "../support/prng.ts";
import { onlyChild, replicaGuest } from "../support/replica_guest.ts";
import { IS_SOAK, scaled } from "../support/soak.ts";
import { checkEqual, checkReplica, readHistory } from "../support/stamp_history.ts";

const REGION_MIB = 1;
const PRIMARY_MIB = 64;
const RESENT_FACTOR = 1.5;
const ROUNDS = scaled(1, 20);
/** Of the issue, for 10 dirty regions in 1 TiB. */
const LOGGING_AGAIN_MS = 5_000;

for (let part = 1; part <= scaled(1, 5); part++) {
  Deno.test(`a killed daemon loses nothing, and what was dirty is resent (${part})`, async () => {
    const seed = seedOf("killed daemon");
    /** And queues. */
    const cpus = part % 2 === 0 ? 2 : 1;
    await replicaGuest(
      `
      shared=$SHARE
      # Writes that the device has completed: the fifth field.
      writes() { awk '{ print $5 }' /sys/block/ublkb0/stat; }
      for round in $(seq ${ROUNDS}); do
        SHARE=$shared/round-$round; mkdir "$SHARE"
        blkdiscard -f "$DISK0"; rm -rf "$REPLICA_ROOT"
        formatted "$DISK0" --region-size ${REGION_MIB}MiB
        added "$DISK0" -q ${cpus} --pool-size 16MiB
        logging
        stamped 60 $((${seed} + round * 16)) &
        until [ "$(writes)" -gt 40 ]; do sleep .2; done
        sleep $(((${seed} + round) % 7))
        kill -KILL $(daemon)
        wait
        io del -n 0 || fail del
        gone killed
        cp "$DISK0" "$SHARE/after-kill.img" || fail cp
        cp -r "$REPLICA_ROOT" "$SHARE/killed" || fail cp
        dirty=$(dirty_regions "$DISK0")
        added "$DISK0" -q ${cpus}
        logging
        echo "resent $(counter resyncedBytes) $dirty"
        stopped again
        cp "$DISK0" "$SHARE/synced.img" || fail cp
        saved
      done`,
      async ({ share, lines }) => {
        checkResent(lines.filter((line) => line.startsWith("resent")));
        for (let round = 1; round <= ROUNDS; round++) await checkKilled(`${share}/round-${round}`);
      },
      { cpus, primaryMib: PRIMARY_MIB, timeLimitMs: (ROUNDS * 120 + 120) * 1000 },
    );
  });
}

function checkResent(lines: readonly string[]): void {
  assertEquals(lines.length, ROUNDS);
  // deno-lint-ignore no-console -- the figures are what a soak is for
  console.log(`bytes resent and dirty regions of ${REGION_MIB} MiB:`, lines.join(", "));
  for (const line of lines) {
    const [resentBytes, dirtyRegions] = line.split(" ").slice(1).map(Number);
    assert(dirtyRegions > 0 && dirtyRegions < PRIMARY_MIB / REGION_MIB / 2, line);
    const dirtyBytes = dirtyRegions * REGION_MIB * MiB;
    assert(resentBytes > 0 && resentBytes <= RESENT_FACTOR * dirtyBytes, line);
  }
}

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

async function killTebibyte(): Promise<void> {
  await replicaGuest(
    `
    mkfs.ext4 -q "$DISK1"; mkdir /run/disk; mount "$DISK1" /run/disk
    primary=/run/disk/primary; truncate -s 1025G $primary
    formatted $primary --device-size 1TiB
    added $primary --pool-size 16MiB
    logging
    for i in $(seq 0 9); do
      dd if=/dev/urandom of=/dev/ublkb0 bs=4k count=1 seek=$((i * 26214400)) oflag=direct \
        conv=fsync status=none || fail dd &
    done
    wait
    kill -KILL $(daemon)
    io del -n 0 || fail del
    gone killed
    echo "dirty $(dirty_regions $primary)"
    start=$(date +%s%3N)
    added $primary --pool-size 16MiB
    returned=$(date +%s%3N)
    logging
    again=$(log_ms mode=logging)
    echo "times $((again - $(log_ms "Replica attached"))) $((again - returned)) $((again - start))"
    echo "resent $(counter resyncedBytes)"
    stopped "1 TiB"`,
    ({ lines }) => {
      assertEquals(lines.find((line) => line.startsWith("dirty")), "dirty 10");
      assertEquals(lines.find((line) => line.startsWith("resent")), `resent ${10 * 8 * MiB}`);
      const times = lines.find((line) => line.startsWith("times"))?.split(" ").slice(1).map(Number);
      const [attachedMs = NaN, returnedMs = NaN, calledMs = NaN] = times ?? [];
      // deno-lint-ignore no-console -- the figure is what the test is for
      console.log(
        `1 TiB, 10 dirty regions: logging ${attachedMs} ms after attaching, ${returnedMs} ms after ` +
          `add returned, ${calledMs} ms after add was called`,
      );
      // A loaded machine takes longer than that to start the program in the guest.
      assert(returnedMs <= LOGGING_AGAIN_MS, `${returnedMs} ms from the return of add to logging`);
    },
    { disks: [{ sizeBytes: 16 * GiB }] },
  );
}

// The short run is tests/model/terabyte_start_test.ts, without a kernel.
if (IS_SOAK) {
  Deno.test(
    "a killed daemon of a 1 TiB device with 10 dirty regions soon logs again",
    killTebibyte,
  );
}
