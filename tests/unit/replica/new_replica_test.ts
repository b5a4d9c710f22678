import { assertEquals, assertRejects } from "../../support/assert.ts";
import { MemoryStore } from "../../support/memory_store.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { type DeviceCard, encodeDeviceCard } from "../../../src/format/device_card.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { createWriter } from "../../support/sole_writer.ts";
import { NewReplica } from "../../../src/replica/new_replica.ts";

const CARD: DeviceCard = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  deviceSizeBytes: 1 << 20,
  regionBytes: 8 << 20,
  metaBlockBytes: 8192,
  dataBlockBytes: 16384,
  createdMs: 1_700_000_000_000,
};

/** Opens are independent stores over the same objects, as those of a real root are. */
function rootOf(first: MemoryStore): { card: DeviceCard; openStore: () => Promise<MemoryStore> } {
  const { objects } = first;
  return { card: CARD, openStore: () => Promise.resolve(new MemoryStore({ objects })) };
}

Deno.test("NewReplica.create() puts the card and an empty Hyperfile of the asked block sizes", async () => {
  const store = new MemoryStore();
  await new NewReplica(rootOf(store)).create();
  assertEquals([...store.objects.keys()].sort(), ["device.json", "inode"]);
  const reader = await HyperfileReader.open(store);
  assertEquals([reader.cno, reader.sizeBytes, reader.dataBlockBytes], [0, 0, 16384]);
  assertEquals(reader.geometry.metaBlockBytes, 8192);
});

Deno.test("NewReplica looks conditions up in a store that ignores them, where that was accepted", async () => {
  const careless = new MemoryStore();
  const put = careless.put.bind(careless);
  careless.put = (key, chunks) => put(key, chunks);
  const options = { card: CARD, openStore: () => Promise.resolve(careless) };
  careless.close = () => Promise.resolve();
  const replica = new NewReplica({ ...options, acceptUnsafeStore: true });
  await replica.check();
  await replica.create();
  assertEquals((await HyperfileReader.open(careless)).cno, 0);
  const before = careless.objects.get("inode")?.etag;
  const other = { ...CARD, uuid: "11111111-2222-4333-8444-555555555555" };
  const second = new NewReplica({ ...options, card: other, acceptUnsafeStore: true });
  await second.check();
  await assertRejects(() => second.create(), ReplicaError, "another's");
  assertEquals(careless.objects.get("inode")?.etag, before);
});

Deno.test("NewReplica.check() leaves no object behind and refuses a store without conditions", async () => {
  const store = new MemoryStore();
  await new NewReplica(rootOf(store)).check();
  assertEquals(store.objects.size, 0);
  const careless = new MemoryStore();
  const put = careless.put.bind(careless);
  careless.put = (key, chunks) => put(key, chunks);
  const replica = new NewReplica({ card: CARD, openStore: () => Promise.resolve(careless) });
  await assertRejects(() => replica.check(), ReplicaError, "ignores");
});

Deno.test("NewReplica.create() carries on what an interrupted creation left", async () => {
  const store = new MemoryStore();
  const root = rootOf(store);
  await store.put("device.json", [encodeDeviceCard(CARD)]);
  await new NewReplica(root).create();
  const inode = store.objects.get("inode")!.etag;
  const again = new NewReplica(root);
  await again.create();
  assertEquals(store.objects.get("inode")!.etag, inode);
  await again.undo();
  assertEquals(store.objects.size, 2);
});

Deno.test("NewReplica.undo() removes what its own create() put, and nothing else", async () => {
  const store = new MemoryStore();
  await store.put("notes.txt", [new Uint8Array(1)]);
  const replica = new NewReplica(rootOf(store));
  await replica.undo();
  await replica.create();
  assertEquals(store.objects.size, 3);
  await replica.undo();
  assertEquals([...store.objects.keys()], ["notes.txt"]);
});

Deno.test("NewReplica.create() refuses another's root and does not touch it", async () => {
  const rows: [string, (store: MemoryStore) => Promise<unknown>][] = [
    [
      "another's",
      (store) => store.put("device.json", [encodeDeviceCard({ ...CARD, deviceSizeBytes: 4096 })]),
    ],
    ["not a device card", (store) => store.put("device.json", [new Uint8Array(3)])],
    ["there is one already", async (store) => {
      const writer = await createWriter(store, { createdMs: 5 });
      writer.close();
    }],
  ];
  for (const [part, occupy] of rows) {
    const store = new MemoryStore();
    await occupy(store);
    const before = [...store.objects].map(([key, { etag }]) => `${key} ${etag}`);
    const replica = new NewReplica(rootOf(store));
    await assertRejects(() => replica.create(), ReplicaError, part);
    await replica.undo();
    assertEquals([...store.objects].map(([key, { etag }]) => `${key} ${etag}`), before, part);
  }
});
