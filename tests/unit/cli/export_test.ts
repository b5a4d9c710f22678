// export as a person types it: fixtures of another implementation and random replicas of ours,
// compared byte for byte, and everything that it must refuse.

import { encodeDeviceCard } from "../../../src/format/device_card.ts";
import { S3Store } from "../../../src/replica/s3_store.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { sha256 } from "../../support/image.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import {
  dumpReplica,
  fixtureRows,
  fixtureUri,
  imageOf,
  randomReplica,
} from "../../support/replica_folder.ts";
import { startS3Server } from "../../support/s3_server.ts";
import { stamped } from "../../support/batches.ts";
import { TracedStore } from "../../support/traced_store.ts";
import { buildTreeImage } from "../../support/tree_image.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());

function card(deviceSizeBytes: number): Uint8Array {
  return encodeDeviceCard({
    uuid: UUID,
    deviceSizeBytes,
    regionBytes: 8 << 20,
    metaBlockBytes: 4096,
    dataBlockBytes: 4096,
    createdMs: 1,
  });
}

function fixture(replica: string): Promise<TracedStore> {
  return TracedStore.load(new URL(`${fixtureUri(replica)}/`));
}

function files(world: CliWorld): string[] {
  return [...Deno.readDirSync(world.directory)].map(({ name }) => name).sort();
}

Deno.test("export writes every checkpoint of the fixtures, byte for byte", async () => {
  using world = new CliWorld();
  for (const row of fixtureRows().filter(({ cno }) => cno > 0)) {
    const image = `${world.directory}/${row.replica}-${row.checkpoint}`;
    const at = row.checkpoint === 0 ? [] : ["--at", String(row.checkpoint)];
    const argv = ["export", "--replica", fixtureUri(row.replica), "-o", image, ...at, "--json"];
    const { code, stdout, stderr } = await world.run(...argv);
    assertEquals([code, stderr], [0, ""], image);
    assertEquals(await sha256(await Deno.readFile(image)), row.hash, image);
    const report = JSON.parse(stdout);
    assertEquals(
      [report.cno, report.sizeBytes, report.output, report.kind, report.uuid],
      [row.cno, row.size, image, "file", null],
    );
  }
});

Deno.test("export equals the model at every checkpoint, and is sparse", async () => {
  const random = new Prng(seedOf("export_test"));
  using world = new CliWorld();
  for (const concurrency of ["1", "16"]) {
    const file = await randomReplica(random, 6);
    const uri = await dumpReplica(file.store, `${world.directory}/replica-${concurrency}`);
    for (const [cno, { shadow, sizeBytes }] of file.published) {
      if (cno === 0) continue;
      const path = `${world.directory}/image`;
      const argv = ["--at", String(cno), "--concurrency", concurrency, "--force"];
      const { code, stderr } = await world.run("export", "--replica", uri, "-o", path, ...argv);
      assertEquals([code, stderr], [0, ""]);
      assertEquals(
        await sha256(await Deno.readFile(path)),
        await sha256(imageOf(shadow, sizeBytes)),
        `checkpoint ${cno}`,
      );
      const { blocks } = await Deno.stat(path);
      assert((blocks ?? 0) * 512 <= shadow.size * 4096 + 65536, `${blocks} sectors`);
    }
  }
});

Deno.test("export reads deep foreign trees with blocks that are greater than a window", async () => {
  const random = new Prng(1);
  using world = new CliWorld();
  const blockBytes = 8 << 20;
  const blocks = new Map([[1, stamped(1, blockBytes)], [2, null], [4, stamped(2, blockBytes)]]);
  const sizeBytes = 5 * blockBytes - 1000;
  const image = {
    blocks,
    fanOut: 2,
    pointerFormat: 1,
    segments: 2,
    sizeBytes,
    blockBytes,
  } as const;
  const { store } = buildTreeImage({ ...image, garbage: true, random });
  const uri = await dumpReplica(store, `${world.directory}/replica`);
  const path = `${world.directory}/image`;
  assertEquals((await world.run("export", "--replica", uri, "-o", path)).code, 0);
  const expected = new Uint8Array(sizeBytes);
  expected.set(stamped(1, blockBytes), blockBytes);
  expected.set(stamped(2, blockBytes).subarray(0, blockBytes - 1000), 4 * blockBytes);
  assertEquals(await sha256(await Deno.readFile(path)), await sha256(expected));
});

Deno.test("export takes the size from the side-car, or from the operator", async () => {
  using world = new CliWorld();
  const store = await fixture("up-basic");
  store.set("device.json", card(1 << 20));
  const uri = await dumpReplica(store, `${world.directory}/replica`);
  const path = `${world.directory}/image`;
  async function sizeWith(...argv: string[]): Promise<number> {
    const { code, stderr } = await world.run("export", "--replica", uri, "-o", path, ...argv);
    assertEquals([code, stderr], [0, ""]);
    return (await Deno.stat(path)).size;
  }
  assertEquals(await sizeWith(), 1 << 20);
  assertEquals(await sizeWith("--force", "--device-size", "2M"), 2 << 20);
  const small = await world.run(
    ..."export --force --device-size 4K -o".split(" "),
    path,
    "--replica",
    uri,
  );
  assertEquals(small.code, 2);
  assert(small.stderr.includes("less than the 65536"), small.stderr);

  for (const bad of [card(4096), new TextEncoder().encode("{}")]) {
    await Deno.writeFile(`${world.directory}/replica/device.json`, bad);
    const refused = await world.run("export", "--replica", uri, "-o", path, "--force");
    assertEquals(refused.code, 3, refused.stderr);
    assert(refused.stderr.includes("--device-size"), refused.stderr);
    assertEquals(await sizeWith("--force", "--device-size", "64K"), 65536);
  }
});

Deno.test("export refuses what it cannot do, and changes nothing", async () => {
  using world = new CliWorld();
  const here = world.directory;
  await Deno.writeTextFile(`${here}/there`, "keep me");
  await Deno.writeFile(`${here}/killed.partial`, new Uint8Array(10));
  await Deno.symlink("nowhere", `${here}/dangling`);
  await Deno.mkdir(`${here}/empty`);
  const basic = fixtureUri("up-basic2");
  const rows: [argv: string[], code: number, part: string][] = [
    [["--replica", basic, "-o", `${here}/there`], 2, "it exists"],
    [["--replica", basic, "-o", `${here}/killed`], 2, "killed.partial: there is such a file"],
    [["--replica", basic, "-o", here, "--force"], 2, "neither a block device nor a regular file"],
    [["--replica", basic, "-o", "/dev/null", "--force"], 2, "neither a block device"],
    [["--replica", basic, "-o", `${here}/dangling`], 2, "no such file"],
    [["--replica", basic, "-o", `${here}/no/image`], 2, "there is no such directory"],
    [["--replica", basic, "-o", `${here}/no/`], 2, "not a file's name"],
    [["--replica", basic, "-o", `${here}/i`, "--at", "3"], 2, "The nearest are 1, 2"],
    [["--replica", basic, "-o", `${here}/i`, "--at", "0"], 2, "it must be from 1"],
    [["--replica", basic, "-o", `${here}/i`, "--at", "-1"], 2, "it must be from 1"],
    [["--replica", basic, "-o", `${here}/i`, "--concurrency", "0"], 2, "from 1 to 64"],
    [["--replica", basic, "-o", `${here}/i`, "--concurrency", "65"], 2, "from 1 to 64"],
    [["--replica", basic, "-o", `${here}/i`, "--s3-region", "eu-1"], 2, "is not on S3"],
    [["--replica", fixtureUri("up-create"), "-o", `${here}/i`], 2, "it has no checkpoint yet"],
    [["--replica", `file://${here}/empty`, "-o", `${here}/i`], 2, "there is no inode"],
    [["--replica", `file://${here}/absent`, "-o", `${here}/i`], 2, "no such directory"],
    [["--replica", "/dev/vdb", "-o", `${here}/i`], 2, "holds no objects"],
  ];
  const before = world.snapshot();
  for (const [argv, code, part] of rows) {
    const result = await world.run("export", ...argv);
    assert(result.stderr.includes(part), `${argv.join(" ")}: ${result.stderr}`);
    assertEquals([result.code, result.stdout], [code, ""], argv.join(" "));
  }
  assertEquals(world.snapshot(), before);
});

Deno.test("export refuses a primary, and a file that is in use", async () => {
  using world = new CliWorld();
  const disk = `${world.directory}/disk`;
  await Deno.writeFile(disk, new Uint8Array());
  await Deno.truncate(disk, 4 << 20);
  const argv = ["export", "--replica", fixtureUri("up-basic"), "-o", disk, "--force"];
  const before = world.snapshot();
  {
    using held = await Deno.open(disk, { read: true, write: true });
    await held.tryLock(true);
    const inUse = await world.run(...argv);
    assert(inUse.code === 2 && inUse.stderr.includes("in use"), inUse.stderr);
    assertEquals(world.snapshot(), before);
  }
  await world.run("format", "-f", disk, "--region-size", "1M");
  const formatted = await Deno.readFile(disk);
  const refused = await world.run(...argv);
  assert(refused.code === 2 && refused.stderr.includes("it is the primary of"), refused.stderr);
  assertEquals(await sha256(await Deno.readFile(disk)), await sha256(formatted));
  assertEquals(files(world), ["disk"]);
});

Deno.test("export with force replaces files, also through links, and what a killed one left", async () => {
  using world = new CliWorld();
  const here = world.directory;
  await Deno.writeFile(`${here}/old`, new Uint8Array(100_000).fill(7));
  await Deno.writeFile(`${here}/old.partial`, new Uint8Array(200_000).fill(7));
  await Deno.symlink("old", `${here}/link`);
  const [row] = fixtureRows();
  const argv = ["export", "--replica", fixtureUri(row.replica), "-o", `${here}/link`, "--force"];
  const { code, stderr } = await world.run(...argv);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(await sha256(await Deno.readFile(`${here}/old`)), row.hash);
  assertEquals(files(world), ["link", "old"]);
  assert((await Deno.lstat(`${here}/link`)).isSymlink);
});

Deno.test("export of a damaged replica names object and offset, and leaves no image", async () => {
  using world = new CliWorld();
  const whole = await fixture("up-basic2");
  const segment = whole.bytesOf("0000000002");
  async function refused(store: TracedStore, parts: string[]): Promise<void> {
    const folder = `${world.directory}/replica`;
    const uri = await dumpReplica(store, folder);
    const image = `${world.directory}/image`;
    const { code, stdout, stderr } = await world.run(
      "export",
      "--replica",
      uri,
      "-o",
      image,
      "--json",
    );
    assertEquals([code, stdout], [3, ""], stderr);
    const { error } = JSON.parse(stderr);
    for (const part of parts) assert(JSON.stringify(error).includes(part), stderr);
    assert("object" in error.context, stderr);
    await Deno.remove(folder, { recursive: true });
    assertEquals(files(world), []);
  }
  const truncated = whole.clone();
  truncated.set("0000000002", segment.subarray(0, segment.length - 4096));
  await refused(truncated, ["0000000002", '"offset"']);
  const node = whole.clone();
  const broken = segment.slice();
  broken[4096] = 0xff;
  node.set("0000000002", broken);
  await refused(node, ["0000000002", "tree node", '"offset":4096']);
  const gone = whole.clone();
  gone.inner.objects.delete("0000000001");
  await refused(gone, ["0000000001", "missing"]);
});

Deno.test("export that is interrupted leaves no image and ends with the signal's code", async () => {
  const random = new Prng(5);
  const file = await randomReplica(random, 3);
  using world = new CliWorld();
  const uri = await dumpReplica(file.store, `${world.directory}/replica`);
  world.interrupt("SIGTERM");
  const { code, stderr } = await world.run(
    "export",
    "--replica",
    uri,
    "-o",
    `${world.directory}/i`,
  );
  assertEquals(code, 143, stderr);
  assertEquals(files(world), ["replica"]);
});

Deno.test("export reads a replica on S3", async () => {
  const root = await server.createRoot();
  const { bucket, key, endpoint, region } = root;
  const store = new S3Store({ ...root, env: () => undefined });
  const [row] = fixtureRows();
  const objects = await fixture(row.replica);
  for (const name of objects.keys()) await store.put(name, [objects.bytesOf(name)]);
  await store.close();
  using world = new CliWorld();
  const image = `${world.directory}/image`;
  Deno.env.set("AWS_ACCESS_KEY_ID", "test");
  Deno.env.set("AWS_SECRET_ACCESS_KEY", "test-secret");
  const s3 = ["--s3-endpoint", endpoint!, "--s3-region", region!];
  const argv = ["export", "--replica", `s3://${bucket}/${key}`, "-o", image, ...s3];
  const { code, stderr } = await world.run(...argv);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(await sha256(await Deno.readFile(image)), row.hash);
});
