import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { run, sparseFile, withTempDir } from "../../support/temp_disk.ts";
import { KiB, MiB } from "../../../src/base/units.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { SharedArea } from "../../../ffi/memory.ts";
import { BlockDevice } from "../../../src/primary/block_device.ts";
import { deviceNumberText } from "../../../src/primary/geometry.ts";

const BUILD = new URL("../../../build/", import.meta.url).pathname;
const OPTIONS = { access: "write", buffered: "fallback" } as const;

Deno.test("BlockDevice reads what it wrote, at any page, and nothing else changes", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 4 * MiB);
    const disk = await BlockDevice.open(path, OPTIONS);
    const bytes = crypto.getRandomValues(new Uint8Array(8 * KiB));
    await disk.write(MiB, bytes);
    await disk.flush();
    assertEquals(await disk.read(MiB, bytes.length), bytes);
    const area = SharedArea.allocate(64 * KiB);
    await disk.readInto(MiB - 4 * KiB, area.bytes);
    assertEquals(area.bytes.slice(4 * KiB, 12 * KiB), bytes);
    assert(area.bytes.slice(12 * KiB).every((byte) => byte === 0));
    area.release();
    disk.close();
    assertEquals((await Deno.readFile(path)).slice(MiB, MiB + bytes.length), bytes);
  });
});

Deno.test("BlockDevice knows a file's geometry", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 3 * MiB + 512);
    const disk = await BlockDevice.open(path, OPTIONS);
    const { geometry } = disk;
    assertEquals([geometry.kind, disk.sizeBytes, geometry.volatileCache], [
      "file",
      3 * MiB + 512,
      true,
    ]);
    assert([512, 4096].includes(geometry.logicalBlockBytes));
    disk.close();
  });
});

Deno.test("BlockDevice.open({exclusive}) keeps a second claim out until close()", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, MiB);
    const claim = { ...OPTIONS, exclusive: true };
    const first = await BlockDevice.open(path, claim);
    await assertRejects(() => BlockDevice.open(path, claim), ReplicaError, "in use");
    (await BlockDevice.open(path, { access: "read", buffered: "fallback" })).close();
    first.close();
    (await BlockDevice.open(path, claim)).close();
  });
});

Deno.test("BlockDevice.open({exclusive, buffered}) reads from the drive, not what was cached before", async () => {
  await withTempDir(async (dir) => {
    const path = `${dir}/disk`;
    await Deno.writeFile(path, crypto.getRandomValues(new Uint8Array(64 * KiB)));
    const cachedBytes = async () => Number(await run("fincore", "-b", "-n", "-o", "RES", path));
    using file = await Deno.open(path, { write: true });
    await file.syncData();
    assertEquals(await cachedBytes(), 64 * KiB);
    for (const exclusive of [false, true]) {
      const disk = await BlockDevice.open(path, { access: "write", buffered: true, exclusive });
      assertEquals(await cachedBytes(), exclusive ? 0 : 64 * KiB);
      disk.close();
    }
  }, BUILD); // temporary files may be in memory, which is a cache without a drive
});

Deno.test("BlockDevice.open() refuses what is no primary, and I/O says where it failed", async () => {
  await withTempDir(async (dir) => {
    const rows = [[`${dir}/none`, "no such file"], [dir, "neither"], ["/dev/null", "neither"]];
    for (const [path, part] of rows) {
      await assertRejects(() => BlockDevice.open(path, OPTIONS), ReplicaError, part);
    }
    const path = await sparseFile(`${dir}/disk`, MiB);
    const reader = await BlockDevice.open(path, { access: "read", buffered: "fallback" });
    await assertRejects(() => reader.write(0, new Uint8Array(4096)), ReplicaError, "EBADF");
    await assertRejects(() => reader.read(MiB, 4096), ReplicaError, "ends at 1048576");
    reader.close();
  });
});

Deno.test("deviceNumberText() splits the numbers that stat(2) packs", () => {
  // makedev(8, 1), (254, 0), (259, 3), (8, 257), (0x1234, 0x56789)
  const packed = [0x801, 0xfe00, 0x10303, 0x100801, 0x100056723489];
  const expected = ["8:1", "254:0", "259:3", "8:257", "4660:354185"];
  assertEquals(packed.map(deviceNumberText), expected);
});
