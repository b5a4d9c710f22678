// A drive with bad sectors, by way of the device mapper: everything else is replicated and compared, the operator
// hears of them, the stop is not a clean one, and the next start on a drive that reads again copies what was missing.

import { MiB } from "../../src/base/units.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";

const SCENARIO = `
  # drive TABLE: what /dev/mapper/drive is made of from now on: all of the disk, all but a block at 4 MiB, or
  # all but that one and two more at 5 MiB.
  drive() {
    local sectors
    sectors=$(blockdev --getsz "$DISK0")
    case $1 in
      whole) echo "0 $sectors linear $DISK0 0" ;;
      bad) printf '%s\\n' "0 8192 linear $DISK0 0" "8192 8 error" \\
        "8200 $((sectors - 8200)) linear $DISK0 8200" ;;
      worse) printf '%s\\n' "0 8192 linear $DISK0 0" "8192 8 error" "8200 2040 linear $DISK0 8200" \\
        "10240 16 error" "10256 $((sectors - 10256)) linear $DISK0 10256" ;;
    esac >/run/table
    if [ -e /dev/mapper/drive ]; then
      dmsetup suspend drive && dmsetup load drive /run/table && dmsetup resume drive
    else
      # Nobody but us makes nodes here.
      dmsetup create drive /run/table && dmsetup mknodes drive
    fi || fail "dmsetup $1"
  }

  # compared [OPTIONS]: prints what verify says, and how it ends.
  compared() {
    local code=0
    io verify -n 0 "$@" >/run/verify || code=$?
    echo "compared $code $(tr -d '\\n' </run/verify)"
  }

  drive whole
  formatted /dev/mapper/drive --device-size 16MiB --region-size 1MiB
  dd if=/dev/urandom of=/dev/mapper/drive bs=1M count=8 oflag=direct conv=notrunc status=none || fail dd
  drive bad
  added /dev/mapper/drive --pool-size 16MiB
  logging
  dd if=/dev/urandom of=/dev/ublkb0 bs=4k count=1 seek=2048 oflag=direct status=none || fail write
  for _ in $(seq 60); do [ "$(counter dirtyRegions)" = 1 ] && break; sleep .5; done
  echo "dirty $(counter dirtyRegions) unreadable $(counter unreadableBlocks)"
  io status -n 0 | grep '^!'
  compared --json
  drive worse
  compared --json --repair
  compared
  drive bad
  io stop -n 0 2>/run/stop.err
  echo "stop ended with $?: $(grep error: /run/stop.err)"
  gone "with a bad block"
  echo "named $(dirty_regions /dev/mapper/drive)"
  drive whole
  added /dev/mapper/drive --pool-size 16MiB
  logging
  echo "resent $(counter resyncedBytes) unreadable $(counter unreadableBlocks)"
  compared
  stopped "and whole again"
  echo "named $(dirty_regions /dev/mapper/drive)"
  equal /dev/mapper/drive "in the end"
  dmsetup remove drive`;

/** What verify said with one block that resync knows of, with more that it does not, and with none. */
function checkCompared(lines: readonly string[]): void {
  const [known, worse] = lines.slice(0, 2).map((line) => {
    const [, code, json] = /^compared (\d+) (.*)$/.exec(line) ?? [];
    const { unreadable, differing, damaged, comparedBytes, isRepairing } = JSON.parse(json);
    return { code, unreadable, found: [differing, damaged, comparedBytes, isRepairing] };
  });
  const block = { offsetBytes: 4 * MiB, lengthBytes: 4096 };
  const found = [[], [], 16 * MiB, false];
  assertEquals(known, { code: "4", unreadable: [block], found });
  const more = { offsetBytes: 5 * MiB, lengthBytes: 8192 };
  assertEquals(worse, { code: "4", unreadable: [block, more], found });
  const [text, whole] = lines.slice(2);
  assert(
    /^compared 4 .*equal as far as the primary can be read.*12KiB of the primary/.test(text),
    text,
  );
  assert(whole.startsWith("compared 0 primary and replica are equal: 16MiB compared"), whole);
}

Deno.test("a block that can't be read keeps nothing else back, and is copied once it can be", async () => {
  await replicaGuest(SCENARIO, ({ lines }) => {
    const said = (start: string) => lines.filter((line) => line.startsWith(start));
    assertEquals(said("dirty"), ["dirty 1 unreadable 1"]);
    const [message] = said("!");
    assert(message.startsWith("! 1 of the primary's blocks can't be read"), message);
    checkCompared(said("compared"));
    const [stop] = said("stop ended");
    assert(/^stop ended with 4: .*1 of its blocks could not be read/.test(stop), stop);
    assertEquals(said("named"), ["named 1", "named 0"]);
    const [, resent, unreadable] = /^resent (\d+) unreadable (\d+)$/.exec(said("resent")[0]) ?? [];
    assert(Number(resent) > 0 && Number(resent) <= 1 << 20, "only the region that was named");
    assertEquals(unreadable, "0");
  }, { modules: ["dm_mod"] });
});
