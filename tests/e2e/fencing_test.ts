// Two daemons on one replica, on a real ublk driver: the second one is refused and told whose the replica
// is; with --take-over the first one is fenced, goes on locally, remembers what it writes, and can take the
// replica back.

import { MiB } from "../../src/base/units.ts";
import { assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";
import { IS_SOAK } from "../support/soak.ts";

/** Nobody writes: it looks for itself, after half a minute. */
const IDLE_LOOK = `
sleep 30
detached 1`;

const SCENARIO = `
second() {
  io add io-replica -n 1 -f "$DISK1" --replica "file://$REPLICA_ROOT/$UUID" --uuid "$UUID" --quiet \\
    --unix-socket /run/second "$@"
}
# told FILE WORD…: the error in FILE has every word.
told() {
  local file=$1; shift
  for word in "$@"; do grep -qF -- "$word" "$file" || fail "no \\"$word\\" in: $(cat "$file")"; done
}
# write NUMBER SEED [MIB]: 1 MiB of the seed to a device, past the page cache.
write() {
  yes "$2" | dd of=/dev/ublkb$1 bs=64k count=16 seek=$((\${3:-0} * 16)) iflag=fullblock oflag=direct \\
    conv=notrunc status=none || fail "write to $1"
}
reads() {
  yes "$2" | head -c 1M | cmp - <(dd if=/dev/ublkb$1 bs=64k count=16 skip=$((\${3:-0} * 16)) iflag=direct \\
    status=none) || fail "read of $1"
}
# refuses CODE PART COMMAND…: the command ends with that exit code, and says that.
refuses() {
  local code=0
  io "\${@:3}" >/run/refused 2>&1 || code=$?
  [ $code = "$1" ] || fail "$3 ended with $code: $(cat /run/refused)"
  told /run/refused "$2"
}
# detached NUMBER: waits until its daemon has noticed.
detached() {
  for _ in $(seq 20); do
    io status -n $1 >/run/status || fail "status of $1"
    grep -q '^mode *detached' /run/status && return
  done
  fail "$1 is not detached: $(cat /run/status)"
}

formatted "$DISK0" --region-size 1MiB
added "$DISK0"
write 0 first
stopped "a first life"
dd if="$DISK0" of="$DISK1" bs=1M oflag=direct status=none

added "$DISK0"
owner=$(cat /run/hyper-io-replica/ublk-0.json | grep -o '"pid":[0-9]*' | cut -d: -f2)
code=0; second 2>/run/refused || code=$?
[ $code = 5 ] || fail "exit code $code"
told /run/refused "another writer holds it" "host $(hostname)" "pid $owner" --take-over
test ! -e /dev/ublkb1 || fail "a device of a refused start"
echo "refused"

second --take-over || fail "take over"
write 0 lost
detached 0
told /run/status "took it over: host $(hostname)" --take-over "works locally only"
write 0 local
write 0 local 5
write 0 local 6
reads 0 local
reads 0 local 6
refuses 4 "Cannot set the mode: replication has ended" mode set -n 0 forward-full
refuses 4 "Cannot compare: replication has ended" verify -n 0
io status -n 0 | grep -q '^IO errors *0' || fail "IO errors"
grep -q 'Replication has ended' /run/hyper-io-replica/$UUID.log || fail "no event in the log"
echo "fenced"

code=0; io stop -n 0 2>/run/stopped || code=$?
[ $code = 4 ] || fail "a stop without its replica: $code"
map=$(dirty_ranges "$DISK0") || fail inspect
echo "named $map"
code=0; io add io-replica -n 0 -f "$DISK0" --replica "file://$REPLICA_ROOT/$UUID" --uuid "$UUID" \\
  --quiet --unix-socket /run/ioreplica 2>/run/refused || code=$?
[ $code = 5 ] || fail "exit code $code: $(cat /run/refused)"
added "$DISK0" --take-over
logging
io verify -n 0 >/run/verify || fail "verify: $(cat /run/verify)"
told /run/verify "primary and replica are equal"
echo "equal: again"
reads 0 local
reads 0 local 5
${IS_SOAK ? IDLE_LOOK : ""}
write 1 other
detached 1
reads 1 other
io stop -n 1 2>/dev/null
io stop -n 0 || fail "stop of the owner"
equal "$DISK0" "what its owner wrote"
io inspect "file://$REPLICA_ROOT/$UUID" | grep -q '^ *writer *none' || fail "not released"
`;

Deno.test("a second daemon is refused, or fences the first, whose device goes on", async () => {
  await replicaGuest(SCENARIO, ({ lines }) => {
    assertEquals(lines.filter((line) => /^(refused|fenced|named|equal)/.test(line)), [
      "refused",
      "fenced",
      // The write that met the fence, and what was written since.
      "named [[0,0],[5,6]]",
      "equal: again",
      "equal: what its owner wrote",
    ]);
  }, { disks: [{ sizeBytes: 64 * MiB }] });
});
