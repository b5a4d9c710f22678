// A made-up machine in a folder: /proc and /sys as the kernel shows them.

import { assertEquals } from "../../support/assert.ts";
import { sparseFile, withTempDir } from "../../support/temp_disk.ts";
import { relatedDevices, usesOf } from "../../../src/primary/in_use.ts";
import { findUses } from "../../../src/primary/in_use.ts";
import { deviceNumberText } from "../../../src/primary/geometry.ts";

const MOUNTS = `
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw
90 22 8:17 / /srv/my\\040files rw,relatime - xfs /dev/sdb1 rw
91 22 0:45 / /run rw,nosuid - tmpfs tmpfs rw
`;

async function machine(root: string): Promise<void> {
  const disk = `${root}/sys/devices/pci/block/sdb`;
  for (const folder of ["sdb1/holders", "sdb2/holders/dm-0", "holders", "queue"]) {
    await Deno.mkdir(`${disk}/${folder}`, { recursive: true });
  }
  await Deno.writeTextFile(`${disk}/dev`, "8:16\n");
  for (const number of [1, 2]) {
    await Deno.writeTextFile(`${disk}/sdb${number}/dev`, `8:${16 + number}\n`);
    await Deno.writeTextFile(`${disk}/sdb${number}/partition`, `${number}\n`);
  }
  await Deno.mkdir(`${root}/sys/dev/block`, { recursive: true });
  await Deno.symlink("../../devices/pci/block/sdb", `${root}/sys/dev/block/8:16`);
  for (const number of [1, 2]) {
    const target = `../../devices/pci/block/sdb/sdb${number}`;
    await Deno.symlink(target, `${root}/sys/dev/block/8:${16 + number}`);
  }
  await Deno.mkdir(`${root}/proc/self`, { recursive: true });
  await Deno.writeTextFile(`${root}/proc/self/mountinfo`, MOUNTS);
}

Deno.test("relatedDevices() finds partitions of a disk and the disk of a partition", async () => {
  await withTempDir(async (root) => {
    await machine(root);
    assertEquals(relatedDevices("8:16", root), ["8:16", "8:17", "8:18"]);
    assertEquals(relatedDevices("8:18", root), ["8:18", "8:16"]);
    assertEquals(relatedDevices("7:0", root), ["7:0"]);
  });
});

Deno.test("usesOf() names mounts and holders, also of partitions", async () => {
  await withTempDir(async (root) => {
    await machine(root);
    const uses = (number: string) =>
      usesOf({ deviceNumbers: relatedDevices(number, root) }, { root });
    assertEquals(await uses("8:16"), ["mounted on /srv/my files", "held by dm-0"]);
    assertEquals(await uses("8:17"), ["mounted on /srv/my files"]);
    assertEquals(await uses("8:18"), ["held by dm-0"]);
    assertEquals(await uses("7:0"), []);
    assertEquals(await uses("8:2"), ["mounted on /"]);
  });
});

Deno.test("findUses() names swap on a file and a loop device over it", async () => {
  await withTempDir(async (root) => {
    const path = await sparseFile(`${root}/disk image`, 4096);
    assertEquals(await findUses(path, { root }), []);
    await Deno.mkdir(`${root}/proc`, { recursive: true });
    const escaped = path.replaceAll(" ", "\\040");
    await Deno.writeTextFile(`${root}/proc/swaps`, `Filename Type\n${escaped}\tfile\t99\t0\t-2\n`);
    await Deno.mkdir(`${root}/sys/block/loop7/loop`, { recursive: true });
    await Deno.mkdir(`${root}/sys/block/loop8`, { recursive: true });
    await Deno.link(path, `${root}/other name`);
    const backing = `${root}/sys/block/loop7/loop/backing_file`;
    await Deno.writeTextFile(backing, `${root}/other name\n`);
    assertEquals(await findUses(path, { root }), ["used as swap", "used by /dev/loop7"]);
    await Deno.writeTextFile(backing, `${root}/deleted (deleted)\n`);
    assertEquals(await findUses(path, { root }), ["used as swap"]);
  });
});

Deno.test("findUses() sees that the root file system's device is mounted", async () => {
  const { dev } = await Deno.stat("/");
  const mounted = usesOf({ deviceNumbers: [deviceNumberText(dev)] }, {});
  assertEquals((await mounted).includes("mounted on /"), true);
});
