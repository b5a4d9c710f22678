import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { MemoryStore } from "../../support/memory_store.ts";
import { run, sparseFile, withTempDir } from "../../support/temp_disk.ts";
import { KiB, MiB } from "../../../src/base/units.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { BlockDevice } from "../../../src/primary/block_device.ts";
import {
  type FormatContext,
  formatLine,
  type FormatOptions,
  formatPrimary,
} from "../../../src/primary/format.ts";
import { PrimaryMetadata } from "../../../src/primary/metadata.ts";
import type { DeviceCard } from "../../../src/format/device_card.ts";
import { NewReplica } from "../../../src/replica/new_replica.ts";

const BLOCKS = { regionBytes: MiB, metaBlockBytes: 4096, dataBlockBytes: 4096 };
const NO_REPLICA: FormatContext = {
  clock: systemClock,
  replicaAt: () => {
    throw new Error("no replica was asked for");
  },
};

/** Replicas in memory by URI; `failAt` makes creating fail at that step. */
class Replicas {
  readonly stores = new Map<string, MemoryStore>();
  failAt: "check" | "device.json" | "inode" | null = null;
  failUndo = false;

  get context(): FormatContext {
    return { clock: systemClock, replicaAt: (uri, card) => this.#at(uri, card) };
  }

  #at(uri: string, card: DeviceCard): NewReplica {
    const objects = (this.stores.get(uri) ?? new MemoryStore({ uri })).objects;
    this.stores.set(uri, new MemoryStore({ uri, objects }));
    return new NewReplica({
      card,
      openStore: async () => {
        await this.#step("check");
        const store = new MemoryStore({ uri, objects });
        const put = store.put.bind(store);
        store.put = async (key, chunks, options) => {
          await this.#step(key);
          return await put(key, chunks, options);
        };
        store.delete = async (key) => {
          if (this.failUndo && !key.startsWith("probe-")) await this.#fail();
          objects.delete(key);
        };
        return store;
      },
    });
  }

  async #step(name: string): Promise<void> {
    if (this.failAt === name) await this.#fail();
  }

  #fail(): Promise<never> {
    return Promise.reject(new ReplicaError("unavailable", "Cannot reach the store"));
  }

  keys(): string[] {
    return [...this.stores].flatMap(([uri, { objects }]) =>
      [...objects.keys()].map((key) => `${uri}/${key}`)
    ).sort();
  }
}

async function metadataOf(path: string): Promise<PrimaryMetadata> {
  const disk = await BlockDevice.open(path, { access: "read", buffered: "fallback" });
  try {
    return await PrimaryMetadata.load(disk);
  } finally {
    disk.close();
  }
}

/** The first and the last MiB: all that formatting could touch. */
async function ends(path: string): Promise<Uint8Array[]> {
  using file = await Deno.open(path);
  const parts: Uint8Array[] = [];
  for (const offset of [0, Math.max(0, (await file.stat()).size - MiB)]) {
    const part = new Uint8Array(MiB);
    await file.seek(offset, Deno.SeekMode.Start);
    await file.read(part);
    parts.push(part);
  }
  return parts;
}

/** Asserts that `body` fails with `part` and leaves the file as it was. */
async function refuses(path: string, body: () => Promise<unknown>, part: string): Promise<void> {
  const before = await ends(path);
  await assertRejects(body, ReplicaError, part, part);
  assertEquals(await ends(path), before, `${part}: nothing changed`);
}

Deno.test("formatPrimary() makes a device with a replica and says so in one line", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 8 * MiB);
    await Deno.writeFile(path, new Uint8Array(MiB).fill(7), { append: false, create: false });
    await Deno.truncate(path, 8 * MiB);
    const replicas = new Replicas();
    const options: FormatOptions = { path, ...BLOCKS, replicaRoot: "memory:///root///" };
    const result = await formatPrimary(options, replicas.context);
    assertEquals(
      formatLine(result),
      `io-replica format success, device uuid: ${result.uuid}, ` +
        `replica_uri: memory:///root/${result.uuid}`,
    );
    assertEquals(replicas.keys(), [
      `memory:///root/${result.uuid}/device.json`,
      `memory:///root/${result.uuid}/inode`,
    ]);
    const { superblock, layout, history, redundant } = await metadataOf(path);
    assertEquals([superblock.uuid, superblock.state], [result.uuid, "formatted"]);
    assertEquals([superblock.replicaRoot, redundant, history], ["memory:///root", true, []]);
    assertEquals(layout.deviceSizeBytes, result.layout.deviceSizeBytes);
    assert((await Deno.readFile(path)).subarray(0, MiB).every((byte) => byte === 7));
  });
});

Deno.test("formatPrimary() without a replica ends its line after the UUID", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, MiB);
    const options = { path, ...BLOCKS, regionBytes: 64 * KiB, deviceSizeBytes: 512 * KiB };
    const result = await formatPrimary(options, NO_REPLICA);
    assertEquals(formatLine(result), `io-replica format success, device uuid: ${result.uuid}`);
    assertEquals((await metadataOf(path)).layout.deviceSizeBytes, 512 * KiB);
  });
});

Deno.test("formatPrimary() refuses a formatted primary unless forced", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, MiB);
    const options = { path, ...BLOCKS };
    const first = await formatPrimary(options, NO_REPLICA);
    await refuses(path, () => formatPrimary(options, NO_REPLICA), first.uuid);
    const second = await formatPrimary({ ...options, force: true }, NO_REPLICA);
    assert(second.uuid !== first.uuid && !second.continued);
    assertEquals((await metadataOf(path)).superblock.uuid, second.uuid);

    const file = await Deno.open(path, { write: true });
    for (const offsetBytes of second.layout.superblockOffsetsBytes) {
      await file.seek(offsetBytes + 100, Deno.SeekMode.Start);
      await file.write(new Uint8Array(100).fill(1));
    }
    file.close();
    await refuses(path, () => formatPrimary(options, NO_REPLICA), "damaged metadata");
    await formatPrimary({ ...options, force: true }, NO_REPLICA);
  });
});

Deno.test("formatPrimary() refuses a primary that is in use, even when forced", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, MiB);
    const daemon = await BlockDevice.open(path, {
      access: "write",
      buffered: "fallback",
      exclusive: true,
    });
    const format = () => formatPrimary({ path, ...BLOCKS, force: true }, NO_REPLICA);
    await refuses(path, format, "in use");
    daemon.close();
    await format();
  });
});

Deno.test("formatPrimary() checks every option before it touches anything", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 4 * MiB);
    const rows: [Partial<FormatOptions>, string][] = [
      [{ path: `${dir}/none` }, "no such file"],
      [{ path: dir }, "neither"],
      [{ metaBlockBytes: 1000 }, "--meta-block-size"],
      [{ metaBlockBytes: 2048 }, "--meta-block-size"],
      [{ dataBlockBytes: 12288 }, "--data-block-size"],
      [{ dataBlockBytes: 2 * MiB }, "--data-block-size"],
      [{ regionBytes: 5000 }, "--region-size"],
      [{ regionBytes: -512 }, "--region-size"],
      [{ deviceSizeBytes: 4 * MiB }, "--device-size"],
      [{ deviceSizeBytes: 1000 }, "--device-size"],
      [{ replicaRoot: "" }, "--replica"],
      [{ replicaRoot: "///" }, "--replica"],
      [{ replicaRoot: `s3://b/${"x".repeat(1024)}` }, "--replica"],
      [{ path: await sparseFile(`${dir}/tiny`, 64 * KiB) }, "64KiB"],
      [{ path: await sparseFile(`${dir}/empty`, 0) }, "0B"],
    ];
    for (const [change, part] of rows) {
      await refuses(
        path,
        () => formatPrimary({ path, ...BLOCKS, ...change }, NO_REPLICA),
        part,
      );
    }
  });
});

Deno.test("a replica that can't be created leaves the primary and the store as they were", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 4 * MiB);
    const options = { path, ...BLOCKS, replicaRoot: "memory:///root" };
    const old = await formatPrimary({ path, ...BLOCKS }, NO_REPLICA);
    for (const failAt of ["check", "device.json", "inode"] as const) {
      const replicas = new Replicas();
      replicas.failAt = failAt;
      await refuses(
        path,
        () => formatPrimary({ ...options, force: true }, replicas.context),
        "Cannot reach",
      );
      assertEquals(replicas.keys(), []);
    }
    assertEquals((await metadataOf(path)).superblock.uuid, old.uuid);
  });
});

Deno.test("an interrupted format goes on with the same UUID and leaves one replica", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 4 * MiB);
    const options = { path, ...BLOCKS, replicaRoot: "memory:///root" };
    const replicas = new Replicas();
    // A failure that can't be undone leaves what a crash between card and inode leaves.
    replicas.failAt = "inode";
    replicas.failUndo = true;
    await assertRejects(() => formatPrimary(options, replicas.context), ReplicaError, "reach");
    assertEquals(replicas.keys().length, 1);
    await assertRejects(() => metadataOf(path), ReplicaError, "interrupted");

    replicas.failAt = null;
    replicas.failUndo = false;
    const result = await formatPrimary(options, replicas.context);
    assert(result.continued);
    assertEquals(replicas.keys(), [
      `memory:///root/${result.uuid}/device.json`,
      `memory:///root/${result.uuid}/inode`,
    ]);
    assertEquals((await metadataOf(path)).superblock.state, "formatted");
  });
});

Deno.test("an interrupted format that is not carried on is named, so that it can be deleted", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 4 * MiB);
    const replicas = new Replicas();
    replicas.failAt = "inode";
    replicas.failUndo = true;
    const options = { path, ...BLOCKS, replicaRoot: "memory:///root" };
    await assertRejects(() => formatPrimary(options, replicas.context), ReplicaError);
    const { continued, notes } = await formatPrimary({ path, ...BLOCKS }, NO_REPLICA);
    assert(!continued && notes.some((note) => note.includes("memory:///root/")));
  });
});

Deno.test("a file system that reaches into the metadata is kept unless forced", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 64 * MiB);
    await run("mkfs.ext4", "-q", "-F", path);
    await refuses(path, () => formatPrimary({ path, ...BLOCKS }, NO_REPLICA), "ext2/3/4");
    const { notes } = await formatPrimary({ path, ...BLOCKS, force: true }, NO_REPLICA);
    assert(notes[0].includes("lost its end"), notes[0]);
  });
});

Deno.test("a file system that leaves room for the metadata becomes the device's content", async () => {
  await withTempDir(async (dir) => {
    const path = await sparseFile(`${dir}/disk`, 64 * MiB);
    await run("mkfs.ext4", "-q", "-F", path, "60M");
    const { notes } = await formatPrimary({ path, ...BLOCKS }, NO_REPLICA);
    assertEquals(notes, ["the ext2/3/4 on it (60MiB) is the device's content now"]);
    await run("e2fsck", "-fn", path);
    const small = { path, ...BLOCKS, deviceSizeBytes: 32 * MiB, force: true };
    await formatPrimary(small, NO_REPLICA);
  });
});

Deno.test("swap and xfs over the whole primary are refused", async () => {
  await withTempDir(async (dir) => {
    const swap = await sparseFile(`${dir}/swap`, 16 * MiB);
    await run("mkswap", swap);
    await refuses(swap, () => formatPrimary({ path: swap, ...BLOCKS }, NO_REPLICA), "swap");
    const xfs = await sparseFile(`${dir}/xfs`, 400 * MiB);
    await run("mkfs.xfs", "-q", xfs);
    await refuses(xfs, () => formatPrimary({ path: xfs, ...BLOCKS }, NO_REPLICA), "xfs");
  });
});
