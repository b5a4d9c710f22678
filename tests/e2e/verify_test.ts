// verify and mode on a real device under load: equal while fio writes, a block that the store changed is
// found and repaired, and a pause under load ends with an equal replica.

import { assert, assertEquals } from "../support/assert.ts";
import { replicaGuest } from "../support/replica_guest.ts";

/** What verify printed as JSON, after a word that says when. */
function report(lines: readonly string[], when: string) {
  const line = lines.find((one) => one.startsWith(`${when} {`)) ?? "";
  return JSON.parse(line.slice(when.length));
}

Deno.test("verify tells and repairs what differs, and a pause costs nothing, under load", async () => {
  await replicaGuest(
    `
    # compared WHEN CODE [OPTIONS]: prints what verify says, which ends with that exit code.
    compared() {
      local text code
      text=$(io verify -n 0 --json "\${@:3}" 2>/run/verify.err); code=$?
      [ $code = "$2" ] || fail "verify $1: exit code $code: $(cat /run/verify.err) $text"
      echo "$1 $(echo "$text" | tr -d '\\n')"
    }
    formatted "$DISK0" --device-size 24MiB
    added "$DISK0" --pool-size 16MiB
    dd if=/dev/urandom of=/dev/ublkb0 bs=1M count=16 oflag=direct conv=notrunc status=none || fail dd
    fio --name=load --filename=/dev/ublkb0 --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=8 \
      --direct=1 --size=8M --time_based --runtime=600 --rate_iops=60 --output=/run/fio.log &
    load=$!
    compared loaded 0
    io mode set -n 0 pause || fail pause
    sleep 2
    io mode set -n 0 logging || fail resume
    kill -INT $load
    wait $load
    grep -q "err= 0" /run/fio.log || fail "fio: $(cat /run/fio.log)"

    # The block at 12 MiB, which the load never touches, in whatever segment has it.
    cat >/run/corrupt.ts <<'END'
    const [root, block] = Deno.args;
    const wanted = await Deno.readFile(block);
    let found = 0;
    for (const { name, isFile } of Deno.readDirSync(root)) {
      if (!isFile) continue;
      const bytes = Deno.readFileSync(root + "/" + name);
      for (let at = 0; at + wanted.length <= bytes.length; at += 512) {
        if (bytes[at] !== wanted[0] || !wanted.every((value, i) => bytes[at + i] === value)) continue;
        bytes[at + 100] ^= 1;
        Deno.writeFileSync(root + "/" + name, bytes);
        found++;
        break;
      }
    }
    console.log("corrupted " + found);
END
    dd if="$DISK0" of=/run/block bs=4k skip=3072 count=1 iflag=direct status=none
    deno run -A --quiet --no-check /run/corrupt.ts "$REPLICA_ROOT/$UUID" /run/block || fail corrupt
    compared found 3 --repair
    compared clean 0
    stopped "after all"
    equal "$DISK0" "in the end"`,
    ({ lines }) => {
      assert(lines.some((line) => line.startsWith("paused: ")), lines.join("\n"));
      assert(lines.includes("corrupted 1"), lines.join("\n"));
      for (const when of ["loaded", "found", "clean"]) {
        const { comparedBytes, deviceSizeBytes, busyBytes } = report(lines, when);
        assertEquals([comparedBytes, busyBytes], [deviceSizeBytes, 0], when);
      }
      const found = report(lines, "found");
      assertEquals(found.differing, [{ offsetBytes: 12 << 20, lengthBytes: 4096 }]);
      assertEquals(found.isRepairing, true);
    },
  );
});
