// add --force-startup-recover on a real ublk driver: a start that is refused changes nothing; by force the
// replica follows the primary as it is, through a crash in the middle of the copy, and keeps what it had.

import { MiB } from "../../src/base/units.ts";
import { assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";

const FUNCTIONS = `
# wrote MIB SEED: 1 MiB of the seed, past the page cache.
wrote() { yes "$2" | dd of=/dev/ublkb0 bs=64k count=16 seek=$(($1 * 16)) iflag=fullblock oflag=direct \\
  conv=notrunc status=none || fail "write of $2"; }
# published: waits until a checkpoint has every write, and prints its number.
published() {
  for _ in $(seq 60); do
    io status -n 0 --json >/run/status.json || return
    grep -A1 '"lag"' /run/status.json | grep -q '"bytes": 0,' &&
      sed -n 's/^ *"cno": \\([0-9]*\\).*/\\1/p' /run/status.json && return
    sleep .2
  done
  return 1
}
# at CNO: digest of the device as that checkpoint has it.
at() {
  io export --replica "file://$REPLICA_ROOT/$UUID" -o /run/at.img --at "$1" --force --quiet \\
    >/dev/null && sha256sum </run/at.img
}
# everything PRIMARY: digests of its bytes and of each object of the replica.
everything() { dd if="$1" bs=1M iflag=direct status=none | sha256sum; find "$REPLICA_ROOT" -type f -exec sha256sum {} + | sort; }
# refused PRIMARY: says how a start without the option ends.
refused() {
  local code=0
  everything "$1" >/run/before
  io add io-replica -n 0 -f "$1" --replica "file://$REPLICA_ROOT/$UUID" --uuid "$UUID" --quiet \\
    --unix-socket /run/ioreplica 2>/run/refused || code=$?
  everything "$1" | cmp -s - /run/before || fail "a refused start has changed something"
  [ ! -e /dev/ublkb0 ] || fail "a device of a refused start"
  grep -q -- "start with --force-startup-recover" /run/refused || fail "no way out in: $(cat /run/refused)"
  echo "refused with $code: $(sed -n 's/.*error: Cannot attach the replica [^ ]*: //p' /run/refused)"
}
# killed: ends the daemon as a crash does.
killed() { kill -KILL $(daemon); io del -n 0 || fail del; gone killed; }
mode() { io mode get -n 0; }
# startup: what the last start said of itself.
startup() { grep "Replica attached" "/run/hyper-io-replica/$UUID.log" | tail -n 1 | sed 's/.*startup="*//; s/"* replica=.*//'; }
# kept CNO DIGEST: the checkpoint is what it was.
kept() { [ "$(at "$1")" = "$2" ] || fail "checkpoint $1 is another one"; echo "kept"; }
`;

const RESTORED = `${FUNCTIONS}
formatted "$DISK0" --device-size 16MiB --region-size 1MiB
added "$DISK0" --pool-size 16MiB
logging
wrote 0 first
first=$(published) || fail "not published"
dd if="$DISK0" of=/run/snapshot bs=1M iflag=direct status=none
wrote 1 second
published >/run/second || fail "not published"
wrote 0 third
last=$(published) || fail "not published"
killed
had_first=$(at $first) had_last=$(at $last)
[ "$had_first" != "$had_last" ] || fail "checkpoints do not differ"
dd if=/run/snapshot of="$DISK0" bs=1M oflag=direct status=none

refused "$DISK0"
added "$DISK0" --pool-size 16MiB --force-startup-recover --resync-rate 256KiB
echo "forced: $(mode), $(startup)"
killed
added "$DISK0" --pool-size 16MiB
echo "again: $(startup)"
logging
stopped "at last"
equal "$DISK0" "the primary as it was restored"
kept $first "$had_first"
kept $last "$had_last"
added "$DISK0" --pool-size 16MiB
echo "then: $(startup)"
stopped "once more"
`;

const GONE_ON = `${FUNCTIONS}
formatted "$DISK0" --device-size 16MiB --region-size 1MiB
added "$DISK0" --pool-size 16MiB
logging
wrote 0 first
stopped "the first primary"
dd if="$DISK0" of="$DISK1" bs=1M oflag=direct status=none
added "$DISK1" --pool-size 16MiB
wrote 0 other
other=$(published) || fail "not published"
stopped "its copy"
had=$(at $other)

refused "$DISK0"
added "$DISK0" --pool-size 16MiB --force-startup-recover
echo "forced: $(startup)"
logging
stopped "the first one again"
equal "$DISK0" "the first primary"
kept $other "$had"
refused "$DISK1"
`;

const OLDER = "the primary has recorded checkpoint N, but its own daemon went on to N and to N: " +
  "an older copy of the primary was restored";
const FOREIGN = "the replica's newest checkpoint is N, but the last one of this primary is N: " +
  "somebody else has written to it";

Deno.test("a primary that was restored is refused, and by force the replica follows it", async () => {
  await replicaGuest(RESTORED, ({ lines }) => {
    const said = saidIn(lines);
    // Whether the crash finds something staged that the copy can go on with is a matter of time.
    const again = "again: forward-full: an earlier copy of the whole primary is not finished";
    assertEquals(said.map((line) => line.startsWith(again) ? again : line), [
      `refused with 3: ${OLDER}`,
      `forced: forward-full, forward-full: forced, although ${OLDER}`,
      again,
      "equal: the primary as it was restored",
      "kept",
      "kept",
      "then: attached",
    ]);
  }, { primaryMib: 24 });
});

Deno.test("a replica that another primary has gone on with is refused, and by force copied over", async () => {
  await replicaGuest(GONE_ON, ({ lines }) => {
    assertEquals(saidIn(lines), [
      `refused with 3: ${FOREIGN}`,
      `forced: forward-full: forced, although ${FOREIGN}`,
      "equal: the first primary",
      "kept",
      `refused with 3: ${FOREIGN}`,
    ]);
  }, { primaryMib: 24, disks: [{ sizeBytes: 24 * MiB }] });
});

/** What the scenarios say of starts and checkpoints, without the numbers that vary from run to run. */
function saidIn(lines: readonly string[]): string[] {
  return lines.filter((line) => /^(refused|forced|again|equal|kept|then)\b/.test(line))
    .map((line) => line.replaceAll(/\b(checkpoint|is|to) \d+/g, "$1 N"));
}
