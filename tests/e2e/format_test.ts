// format on real block devices of a guest: who uses them, what is on them, disks with 4 KiB blocks,
// and a disk that refuses writes where the metadata goes.

import { assert, assertEquals } from "../support/assert.ts";
import type { Attempt, GuestStep } from "../support/format_in_guest.ts";
import { runGuest } from "../../tools/guest/guest.ts";
import type { DiskOptions } from "../../tools/guest/options.ts";
import { MiB } from "../../src/base/units.ts";

const PROGRAM = new URL("../support/format_in_guest.ts", import.meta.url).pathname;
const SIZE = 64 * MiB;
/** First sector of superblock copy 1. */
const COPY1_SECTOR = (SIZE - 4096) / 512;

function format(name: string, disk: string, ...options: string[]): GuestStep {
  return { name, disk, argv: ["format", "-f", disk, ...options] };
}

async function attempt(
  disks: readonly DiskOptions[],
  steps: readonly GuestStep[],
): Promise<(name: string) => Attempt> {
  const { stdout, stderr, exitCode } = await runGuest({
    command: ["deno", "run", "-A", "--quiet", PROGRAM, JSON.stringify(steps)],
    disks,
    modules: ["loop"],
  });
  assertEquals(exitCode, 0, stderr);
  const attempts: Attempt[] = JSON.parse(stdout);
  return (name) => attempts.find((one) => one.name === name)!;
}

Deno.test("format refuses block devices in use, forced or not, and takes free ones", async () => {
  const result = await attempt([{ sizeBytes: SIZE }, { sizeBytes: SIZE }, { sizeBytes: SIZE }], [
    { sh: "mkdir -p /mnt/a /mnt/b; mkfs.ext4 -q $DISK0; mount $DISK0 /mnt/a" },
    format("mounted", "$DISK0"),
    format("mounted, forced", "$DISK0", "--force"),
    { sh: "truncate -s 16M /mnt/a/image; losetup /dev/loop3 /mnt/a/image" },
    format("looped", "/mnt/a/image", "--force"),
    { sh: "losetup -d /dev/loop3; mkswap $DISK1; swapon $DISK1" },
    format("swap in use", "$DISK1", "--force"),
    { sh: "swapoff $DISK1" },
    format("swap", "$DISK1"),
    { sh: "addpart $DISK2 1 2048 40960; mkfs.ext4 -q ${DISK2}1; mount ${DISK2}1 /mnt/b" },
    format("partition mounted", "$DISK2", "--force"),
    { sh: "umount /mnt/b; delpart $DISK2 1; umount /mnt/a" },
    format("ext4 over all", "$DISK0"),
    { sh: "e2fsck -fy $DISK0; resize2fs $DISK0 60M" },
    format("ext4 shrunk", "$DISK0"),
    { sh: "e2fsck -fn $DISK0" },
    {
      sh: "(exec 9<$DISK0; flock 9; exec sleep 60) >/dev/null 2>&1 & echo $! >/tmp/holder; sleep 1",
    },
    format("locked", "$DISK0", "--force"),
    { sh: "kill $(cat /tmp/holder); sleep 1" },
    format("formatted", "$DISK0"),
    format("formatted, forced", "$DISK0", "--force", "--replica", "file:///tmp/replicas"),
  ]);
  const refused: [string, string][] = [
    ["mounted", "mounted on /mnt/a"],
    ["mounted, forced", "mounted on /mnt/a"],
    ["looped", "used by /dev/loop3"],
    ["swap in use", "used as swap"],
    ["swap", "the swap on it"],
    ["partition mounted", "mounted on /mnt/b"],
    ["ext4 over all", "the ext2/3/4 on it"],
    ["locked", "another process has locked it"],
    ["formatted", "already formatted"],
  ];
  for (const [name, part] of refused) {
    const { code, same, stderr } = result(name);
    assert(code === 2 && same && stderr.includes(part), `${name}: ${code} ${same} ${stderr}`);
  }
  const shrunk = result("ext4 shrunk");
  assert(shrunk.code === 0 && shrunk.stderr.includes("is the device's content now"), shrunk.stderr);
  const forced = result("formatted, forced");
  assert(forced.stdout.includes("replica_uri: file:///tmp/replicas/"), forced.stderr);
});

Deno.test("format works on 4 KiB blocks and NVMe, and fails whole where the disk fails", async () => {
  const result = await attempt([
    { sizeBytes: SIZE, logicalBlockBytes: 4096, physicalBlockBytes: 4096 },
    { sizeBytes: SIZE, bus: "nvme" },
    { sizeBytes: SIZE, faults: [{ type: "write", sector: COPY1_SECTOR }] },
    { sizeBytes: SIZE, readOnly: true },
  ], [
    format("4 KiB blocks", "$DISK0"),
    { name: "inspect 4 KiB", disk: "$DISK0", argv: ["inspect", "$DISK0"] },
    format("nvme", "$DISK1"),
    format("write error", "$DISK2"),
    { name: "inspect error", disk: "$DISK2", argv: ["inspect", "$DISK2"] },
    format("read-only", "$DISK3"),
  ]);
  for (const name of ["4 KiB blocks", "nvme", "inspect 4 KiB"]) {
    assertEquals(result(name).code, 0, result(name).stderr);
  }
  const error = result("write error");
  assert(error.code === 6 && error.stderr.includes("EIO"), error.stderr);
  assertEquals(result("inspect error").code, 3);
  const readOnly = result("read-only");
  assert(readOnly.code !== 0 && readOnly.same, readOnly.stderr);
});
