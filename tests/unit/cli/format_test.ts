// format and inspect as a person types them, on real files with a replica in a directory.

import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { sparseFile } from "../../support/temp_disk.ts";
import { MiB } from "../../../src/base/units.ts";
import { SECTOR } from "../../../src/base/units.ts";

const LINE =
  /^io-replica format success, device uuid: ([0-9a-f-]{36}), replica_uri: (file:\/\/\S+)\n$/;

Deno.test("format prints its line, makes the replica, and inspect shows the device", async () => {
  using world = new CliWorld();
  const disk = await sparseFile(`${world.directory}/disk`, 64 * MiB);
  const root = `${world.directory}/replicas/here`;
  const result = await world.run("format", "-f", disk, "--replica", `file://${root}//`);
  assertEquals([result.code, result.stderr], [0, ""]);
  const [, uuid, uri] = LINE.exec(result.stdout)!;
  assertEquals(uri, `file://${root}/${uuid}`);
  const card = JSON.parse(await Deno.readTextFile(`${root}/${uuid}/device.json`));
  assertEquals([card.uuid, card.format], [uuid, 1]);
  assertEquals((await Deno.stat(`${root}/${uuid}/inode`)).size, 160);

  const shown = await world.run("inspect", disk);
  assertEquals(shown.code, 0);
  assert(shown.stdout.includes(uuid) && shown.stdout.includes(uri), shown.stdout);
  const report = JSON.parse((await world.run("inspect", disk, "--json")).stdout);
  assertEquals(report.superblock.state, "formatted");
});

Deno.test("format without a replica, and as JSON", async () => {
  using world = new CliWorld();
  const disk = await sparseFile(`${world.directory}/disk`, 4 * MiB);
  const plain = await world.run("format", "-f", disk, "--region-size", "1M");
  assert(/device uuid: [0-9a-f-]{36}\n$/.test(plain.stdout), plain.stdout);
  const json = await world.run("format", "-f", disk, "--device-size", "1MiB", "--force", "--json");
  const { replicaUri, deviceSizeBytes } = JSON.parse(json.stdout);
  assertEquals([replicaUri, deviceSizeBytes], [null, MiB]);
});

Deno.test("format refuses wrong command lines with code 2 and changes nothing", async () => {
  using world = new CliWorld();
  const disk = await sparseFile(`${world.directory}/disk`, 4 * MiB);
  const used = await sparseFile(`${world.directory}/used`, 4 * MiB);
  await world.run("format", "-f", used);
  const tiny = await sparseFile(`${world.directory}/tiny`, 20 * SECTOR);
  const rows: [string[], string][] = [
    [["-f", `${disk}x`], "no such file or device"],
    [["-f", world.directory], "neither a block device nor a regular file"],
    [["-f", "/dev/null"], "neither a block device nor a regular file"],
    [["-f", tiny], "no room for the metadata"],
    [["-f", used], "already formatted as device"],
    [["-f", disk, "--device-size", "4MiB"], "--device-size 4194304: the primary has room for"],
    [["-f", disk, "--device-size", "1000"], "--device-size 1000: not a positive multiple"],
    [["-f", disk, "--device-size", "lots"], '"lots" is not a size'],
    [["-f", disk, "--region-size", "0"], "--region-size 0: it must be a multiple"],
    [
      ["-f", disk, "--region-size", "5000"],
      "--region-size 5000: it must be a multiple of the logical block",
    ],
    [["-f", disk, "--meta-block-size", "512"], "--meta-block-size 512"],
    [["-f", disk, "--data-block-size", "6K"], "--data-block-size 6144"],
    [["-f", disk, "--replica", "http://x/y"], '"http:" is not a known scheme'],
    [["-f", disk, "--replica", "/mnt/replicas"], "a root is a place for objects"],
    [["-f", disk, "--replica", "file://relative"], "no absolute path"],
    [["-f", disk, "--replica", "s3:///key"], "is not a bucket name"],
    [["-f", disk, "--replica", `s3://bucket/${"k".repeat(1000)}`], "key is too long"],
    [["-f", disk, "--s3-region", "eu-1"], "there is no --replica"],
    [["-f", disk, "--replica", "file:///srv/r", "--s3-region", "eu-1"], "is not on S3"],
  ];
  const before = world.snapshot();
  for (const [argv, part] of rows) {
    const { code, stdout, stderr } = await world.run("format", ...argv);
    assert(stderr.includes(part), `${argv.join(" ")}: ${stderr}`);
    assertEquals([code, stdout], [2, ""], argv.join(" "));
  }
  assertEquals(world.snapshot(), before);
});

Deno.test("format says what is wrong with a replica's directory and changes nothing", async () => {
  using world = new CliWorld();
  const disk = await sparseFile(`${world.directory}/disk`, 4 * MiB);
  const file = await sparseFile(`${world.directory}/file`, 0);
  const before = world.snapshot();
  const { code, stderr } = await world.run("format", "-f", disk, "--replica", `file://${file}/r`);
  assert(code !== 0 && stderr.includes("file"), stderr);
  assertEquals(world.snapshot(), before);
});

Deno.test("inspect gives code 3 for what is no primary, and goes on past damage", async () => {
  using world = new CliWorld();
  const disk = await sparseFile(`${world.directory}/disk`, 4 * MiB);
  const blank = await world.run("inspect", disk);
  assertEquals(blank.code, 3);
  assert(blank.stdout.includes("not formatted"), blank.stdout);
  await world.run("format", "-f", disk, "--region-size", "1M");
  using file = await Deno.open(disk, { write: true });
  await file.seek(-4000, Deno.SeekMode.End);
  await file.write(new Uint8Array(100).fill(1));
  const damaged = await world.run("inspect", disk);
  assertEquals(damaged.code, 0);
  assert(damaged.stdout.includes("only one superblock copy"), damaged.stdout);
  assertEquals((await world.run("inspect", `${disk}x`)).code, 2);
});
