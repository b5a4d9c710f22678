// inspect on replicas: whole ones, foreign ones and damaged ones; it never writes, and it goes on.

import { encodeDeviceCard } from "../../../src/format/device_card.ts";
import type { TreeReport } from "../../../src/replica/inspect_tree.ts";
import { S3Store } from "../../../src/replica/s3_store.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { stamped } from "../../support/batches.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import {
  dumpReplica,
  fixtureRows,
  fixtureUri,
  randomReplica,
} from "../../support/replica_folder.ts";
import { startS3Server } from "../../support/s3_server.ts";
import { TracedStore } from "../../support/traced_store.ts";
import { buildTreeImage } from "../../support/tree_image.ts";

const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());

/** 24 data blocks and a zero block below nodes with at most two children, in one segment. */
function deepImage(): TracedStore {
  const blocks = new Map<number, Uint8Array | null>();
  for (let i = 0; i < 25; i++) blocks.set(i * 2, i === 5 ? null : stamped(i + 1));
  const image = { blocks, fanOut: 2, pointerFormat: 2, segments: 1, sizeBytes: 64 * 4096 } as const;
  return buildTreeImage({ ...image, random: new Prng(1) }).store;
}

/** The report of a command, and its exit code; the text form is made too. */
async function inspect(
  world: CliWorld,
  ...argv: string[]
  // deno-lint-ignore no-explicit-any -- reports of all kinds, looked at field by field
): Promise<{ code: number; report: any; text: string }> {
  const { code, stdout, stderr } = await world.run("inspect", ...argv, "--json");
  assertEquals(stderr, "", argv.join(" "));
  const plain = await world.run("inspect", ...argv);
  assertEquals(plain.code, code, argv.join(" "));
  return { code, report: JSON.parse(stdout), text: plain.stdout };
}

Deno.test("inspect finds the fixtures whole, in every view", async () => {
  using world = new CliWorld();
  for (const row of fixtureRows()) {
    const uri = fixtureUri(row.replica);
    const at = row.checkpoint === 0 ? [] : ["--at", String(row.checkpoint)];
    const replica = await inspect(world, "replica", uri, ...at);
    assertEquals([replica.code, replica.report.card], [0, null], replica.text);
    assertEquals(replica.report.checkpoints.listed.at(-1)?.cno ?? 0, row.cno);
    assert(replica.text.includes("another tool made this replica"), replica.text);
    const inode = await inspect(world, "inode", uri, ...at);
    assertEquals([inode.code, inode.report.fields.size], [0, row.size]);
    const tree = await inspect(world, "tree", uri, ...at);
    assertEquals([tree.code, tree.report.dataBlocks], [0, row.mapped], tree.text);
    if (row.cno === 0) continue;
    const segment = await inspect(world, "segment", uri, String(row.cno));
    assertEquals([segment.code, segment.report.isCheckpoint], [0, true], segment.text);
  }
});

Deno.test("inspect agrees with the model of a random replica", async () => {
  const random = new Prng(seedOf("inspect_replica_test"));
  const { store, published, lastCno } = await randomReplica(random, 6);
  const uuid = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
  const card = { uuid, deviceSizeBytes: 1 << 24, regionBytes: 1 << 23, metaBlockBytes: 4096 };
  store.set("device.json", encodeDeviceCard({ ...card, dataBlockBytes: 4096, createdMs: 5 }));
  using world = new CliWorld();
  const uri = await dumpReplica(store, `${world.directory}/replica`);
  const before = world.snapshot();
  const { code, report, text } = await inspect(world, uri);
  assertEquals([code, report.card.uuid, report.inode.fields.lastCno], [0, uuid, lastCno]);
  assert(text.includes(uuid) && text.includes("16MiB"), text);
  const cnos = [...published.keys()].filter((cno) => cno > 0);
  assertEquals(report.checkpoints.listed.map(({ cno }: { cno: number }) => cno), cnos);
  for (const cno of cnos) {
    const tree = await inspect(world, "tree", uri, "--at", String(cno));
    assertEquals([tree.code, tree.report.dataBlocks], [0, published.get(cno)!.shadow.size]);
    const segment = await inspect(world, "segment", uri, String(cno));
    assertEquals([segment.code, segment.report.entries.total], [
      0,
      segment.report.header.ndatablk,
    ]);
  }
  assertEquals(world.snapshot(), before);
});

Deno.test("inspect cuts its lists at --limit and says what it left out", async () => {
  using world = new CliWorld();
  const uri = await dumpReplica(deepImage(), `${world.directory}/replica`);
  const tree = await inspect(world, "tree", uri, "--limit", "3");
  assertEquals(tree.report.nodes.listed.length, 3);
  assert(tree.report.nodes.total > 20 && tree.text.includes("more (--limit)"), tree.text);
  const segment = await inspect(world, "segment", uri, "1", "--limit", "2");
  assertEquals([segment.report.entries.total, segment.report.entries.listed.length], [24, 2]);
  const replica = await inspect(world, "replica", uri, "--limit", "0");
  assertEquals(replica.report.checkpoints, { total: 1, listed: [] });
});

Deno.test("inspect tree reports a damaged node and goes on with the next one", async () => {
  using world = new CliWorld();
  const store = deepImage();
  const whole = await inspect(
    world,
    "tree",
    await dumpReplica(store, `${world.directory}/whole`),
  );
  const { nodes, dataBlocks, zeroBlocks }: TreeReport = whole.report;
  assertEquals([whole.code, dataBlocks, zeroBlocks], [0, 24, 1]);
  assertEquals(nodes.listed.filter(({ level }) => level === 1).length, 13);
  for (const node of nodes.listed.filter(({ depth }) => depth > 0)) {
    const broken = store.clone();
    const bytes = broken.bytesOf(node.object);
    bytes[node.offset + 1] ^= 0x80;
    broken.set(node.object, bytes);
    const uri = await dumpReplica(broken, `${world.directory}/${node.offset}`);
    const { code, report, text } = await inspect(world, "tree", uri, "--limit", "0");
    const damaged = report.nodes.listed;
    assertEquals([code, report.damaged, damaged.length], [3, 1, 1], text);
    assertEquals([damaged[0].object, damaged[0].offset], [node.object, node.offset]);
    assert(damaged[0].problem.includes("level"), damaged[0].problem);
    assert(report.nodes.total > 1 && report.dataBlocks < 24 && report.dataBlocks > 0, text);
    const segment = await inspect(world, "segment", uri, "1");
    assertEquals([segment.code, segment.report.damaged], [3, 1], segment.text);
  }
});

Deno.test("inspect tree goes on past a root entry and a mapping that are wrong", async () => {
  using world = new CliWorld();
  const store = deepImage();
  // Byte 7 of the root's first value: where the pointer says "in a segment". Both copies of the root.
  for (const [object, offset] of [["inode", 104], ["0000000001", 24 + 104]] as const) {
    const bytes = store.bytesOf(object);
    bytes[offset + 32 + 7] = 0xff;
    store.set(object, bytes);
  }
  const root = await inspect(
    world,
    "tree",
    await dumpReplica(store, `${world.directory}/root`),
  );
  assertEquals([root.code, root.report.inode.problems.length], [3, 1], root.text);
  assert(root.report.dataBlocks > 0, root.text);

  const mapping = deepImage();
  const bytes = mapping.bytesOf("0000000001");
  bytes[208 + 16 * 4]++; // the fifth entry names another block
  mapping.set("0000000001", bytes);
  const uri = await dumpReplica(mapping, `${world.directory}/mapping`);
  const { code, report, text } = await inspect(world, "tree", uri);
  assertEquals([code, report.damaged, report.dataBlocks], [3, 1, 24], text);
  assert(text.includes("the segment lists block"), text);
});

Deno.test("inspect goes on past damaged objects, and says so by its exit code", async () => {
  using world = new CliWorld();
  const whole = await TracedStore.load(new URL(`${fixtureUri("up-basic2")}/`));
  let number = 0;
  async function damagedBy(change: (store: TracedStore) => void, ...argv: string[]) {
    const store = whole.clone();
    change(store);
    const uri = await dumpReplica(store, `${world.directory}/${number++}`);
    const [view, ...rest] = argv;
    const result = await inspect(world, view, uri, ...rest);
    assertEquals(result.code, 3, result.text);
    assert(result.text.includes("damaged"), result.text);
    return result.report;
  }
  function corrupt(object: string, at: number, byte: number) {
    return (store: TracedStore) => {
      const bytes = store.bytesOf(object);
      bytes[at] = byte;
      store.set(object, bytes);
    };
  }
  const gone = (store: TracedStore) => void store.inner.objects.delete("0000000001");
  const cut = (store: TracedStore) =>
    store.set("0000000002", store.bytesOf("0000000002").subarray(0, 9000));

  const card = (store: TracedStore) => store.set("device.json", new Uint8Array(5));
  assertEquals((await damagedBy(card, "replica")).checkpoints.listed.length, 2);
  assertEquals((await damagedBy(corrupt("inode", 62, 99), "replica")).checkpoints.listed.length, 2);
  assertEquals((await damagedBy(corrupt("inode", 62, 99), "inode")).geometry, null);
  const magic = corrupt("0000000001", 0, 0);
  const listed = (await damagedBy(magic, "replica")).checkpoints.listed;
  assert(listed[0].damage.includes("magic") && listed[1].damage === null, "the second is whole");
  assertEquals((await damagedBy(magic, "segment", "1")).inode.fields.lastCno, 1);
  assertEquals((await damagedBy(cut, "segment", "2")).entries.total, 2);
  assertEquals((await damagedBy(corrupt("inode", 136, 1), "replica")).problems.length, 1);
  const missing = await damagedBy(gone, "tree");
  assertEquals(missing.segments.listed[0], { segmentId: 1, sizeBytes: null, nodes: 0, blocks: 2 });
  const shorter = await damagedBy((store) => store.set("inode", new Uint8Array(9)), "inode");
  assertEquals(shorter.problems, ["9 bytes of 160"]);
});

Deno.test("inspect refuses what is not there", async () => {
  using world = new CliWorld();
  await Deno.mkdir(`${world.directory}/empty`);
  const uri = `file://${world.directory}/empty`;
  for (
    const argv of [[uri], ["tree", uri], ["inode", uri, "--at", "3"], ["segment", uri, "3"], [
      "inode",
      `${uri}/no`,
    ]]
  ) {
    const { code, stdout } = await world.run("inspect", ...argv);
    assertEquals([code, stdout], [2, ""], argv.join(" "));
  }
});

Deno.test("inspect reads a replica on S3", async () => {
  const root = await server.createRoot();
  const { bucket, key, endpoint, region } = root;
  const store = new S3Store({ ...root, env: () => undefined });
  const objects = deepImage();
  for (const name of objects.keys()) await store.put(name, [objects.bytesOf(name)]);
  await store.close();
  using world = new CliWorld();
  Deno.env.set("AWS_ACCESS_KEY_ID", "test");
  Deno.env.set("AWS_SECRET_ACCESS_KEY", "test-secret");
  const s3 = ["--s3-endpoint", endpoint!, "--s3-region", region!];
  const { code, report } = await inspect(world, "tree", `s3://${bucket}/${key}`, ...s3);
  assertEquals([code, report.dataBlocks], [0, 24]);
});
