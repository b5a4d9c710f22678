// Replicas written by the original implementation: read at every checkpoint, continued by our
// writer, and read again. tests/fixtures/README.md lists what each must hold.

import { HyperfileReader } from "../../src/replica/hyperfile_reader.ts";
import { readInode } from "../../src/replica/inode_reader.ts";
import { openWriter } from "../support/sole_writer.ts";
import { isZeroData } from "../../src/replica/mutations.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { readImage, sha256 } from "../support/image.ts";
import { TracedStore } from "../support/traced_store.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

interface Row {
  replica: string;
  checkpoint: number;
  size: number;
  cno: number;
  mapped: number;
  hash: string;
}

function parseRows(readme: string): Row[] {
  const rows: Row[] = [];
  for (const line of readme.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 8 || !/^[0-9a-f]{64}$/.test(cells[6])) continue;
    const [, replica, checkpoint, size, cno, mapped, hash] = cells;
    rows.push({
      replica,
      checkpoint: checkpoint === "head" ? 0 : Number(checkpoint),
      size: Number(size),
      cno: Number(cno),
      mapped: Number(mapped),
      hash,
    });
  }
  return rows;
}

const ROWS = parseRows(Deno.readTextFileSync(new URL("README.md", FIXTURES)));

function load(replica: string): Promise<TracedStore> {
  return TracedStore.load(new URL(`${replica}/`, FIXTURES));
}

Deno.test("the table of fixtures is complete", () => {
  assertEquals(ROWS.length, 14);
});

for (const row of ROWS) {
  Deno.test(`HyperfileReader reads ${row.replica} at checkpoint ${row.checkpoint}`, async () => {
    const store = await load(row.replica);
    const reader = await HyperfileReader.open(store, { cno: row.checkpoint });
    assertEquals([reader.sizeBytes, reader.cno], [row.size, row.cno]);
    assertEquals(await sha256(await readImage(store, row.checkpoint)), row.hash);
    let mapped = 0;
    for await (const extent of reader.extents()) mapped += extent.blockCount;
    assertEquals(mapped, row.mapped);
    assertEquals(store.count("put"), 0);
  });
}

for (const replica of new Set(ROWS.map((row) => row.replica))) {
  Deno.test(`HyperfileWriter continues ${replica}`, async () => {
    const store = await load(replica);
    const before = (await readInode(store))!.inode;
    const writer = await openWriter(store);
    const block = 4096;
    let image = await readImage(store);
    const blocks = [0, 3, 7, 300, 301, 700].map((i) => [i, stamped(i + 0.5)] as const);
    const zeros = [{ startBlock: 1, blockCount: 2 }, { startBlock: 10, blockCount: 100 }];
    const grown = new Uint8Array(800 * block);
    grown.set(image);
    for (const [index, bytes] of blocks) grown.set(bytes, index * block);
    for (const { startBlock, blockCount } of zeros) {
      grown.fill(0, startBlock * block, (startBlock + blockCount) * block);
    }
    const { cno } = await writer.commit(batchOf(blocks, zeros), {
      mtimeMs: 1_800_000_000_000,
      sizeBytes: grown.length,
    });
    assertEquals(cno, before.lastSeq + 1);
    image = await readImage(store);
    assert(isZeroData(xor(image, grown)), "the image is the old one with the changes");
    const { uid, gid, mode, flags, nlink, ctime, metaConfig, ino } =
      (await readInode(store))!.inode;
    assertEquals({ uid, gid, mode, flags, nlink, ctime, metaConfig, ino }, {
      uid: before.uid,
      gid: before.gid,
      mode: before.mode,
      flags: before.flags,
      nlink: before.nlink,
      ctime: before.ctime,
      metaConfig: before.metaConfig,
      ino: before.ino,
    });
    for (const row of ROWS) {
      if (row.replica !== replica || row.checkpoint === 0) continue;
      assertEquals(await sha256(await readImage(store, row.checkpoint)), row.hash);
    }
  });
}

function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  assertEquals(a.length, b.length);
  return a.map((byte, i) => byte ^ b[i]);
}
