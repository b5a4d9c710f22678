// Runs commands with runWithUblk() and runHere() on a machine that has ublk; guest_test.ts compares.

import { messageOf } from "../../src/base/errors.ts";
import { MiB } from "../../src/base/units.ts";
import { runHere, runWithUblk } from "../../tools/guest/here.ts";
import type { GuestResult } from "../../tools/guest/options.ts";

function shown({ outcome, exitCode, stdout, stderr }: GuestResult) {
  return { outcome, exitCode, stdout, stderr };
}

const wrote = await runWithUblk({
  command: 'blockdev --getss "$DISK0"; echo no >&2; exit 3',
  disks: [{ sizeBytes: 8 * MiB, logicalBlockBytes: 4096 }],
});
const late = await runWithUblk({ command: "sleep 600", timeLimitMs: 1000 });
const refused = await runHere({ command: "true", network: true }).then(() => "", messageOf);
const { stdout: loops } = await runHere({ command: "losetup --list" });
const answer = { wrote: shown(wrote), late: shown(late), refused, loops };
Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(answer)));
