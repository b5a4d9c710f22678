// Replicas in folders, for commands that take a URI: fixtures, and replicas made by the model.

import { ModelledFile, type Published, type Shadow } from "./hyperfile_model.ts";
import type { Prng } from "./prng.ts";
import { TracedStore } from "./traced_store.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

export interface FixtureRow {
  readonly replica: string;
  /** 0: the head. */
  readonly checkpoint: number;
  readonly size: number;
  readonly cno: number;
  readonly mapped: number;
  readonly hash: string;
}

/** The table of tests/fixtures/README.md. */
export function fixtureRows(): FixtureRow[] {
  const rows: FixtureRow[] = [];
  for (const line of Deno.readTextFileSync(new URL("README.md", FIXTURES)).split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 8 || !/^[0-9a-f]{64}$/.test(cells[6])) continue;
    const [, replica, checkpoint, size, cno, mapped, hash] = cells;
    const number = checkpoint === "head" ? 0 : Number(checkpoint);
    rows.push({
      replica,
      checkpoint: number,
      size: Number(size),
      cno: Number(cno),
      mapped: Number(mapped),
      hash,
    });
  }
  return rows;
}

export function fixtureUri(replica: string): string {
  return `file://${new URL(replica, FIXTURES).pathname}`;
}

/** Writes a store's objects into a new folder; returns its URI. */
export async function dumpReplica(store: TracedStore, folder: string): Promise<string> {
  await store.dump(folder);
  return `file://${folder}`;
}

export interface RandomReplica {
  readonly store: TracedStore;
  /** What each checkpoint holds; number 0 is the empty file. */
  readonly published: ReadonlyMap<number, Published>;
  readonly lastCno: number;
}

/** A replica of up to 3000 blocks with a random history of commits by our writer. */
export async function randomReplica(random: Prng, commits: number): Promise<RandomReplica> {
  const store = new TracedStore();
  const file = new ModelledFile(store, {
    blocks: 3000,
    batchMax: 300,
    dataBlockBytes: 4096,
    metaBlockBytes: 4096,
    writer: { zeroForm: random.oneIn(2) ? "pointer" : "hole" },
  }, random);
  await file.create();
  for (let i = 0; i < commits || file.writer.lastCno === 0; i++) await file.commitRandom();
  const { lastCno } = file.writer;
  file.writer.close();
  return { store, published: file.published, lastCno };
}

/** The image that a model's shadow stands for. */
export function imageOf(shadow: Shadow, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(sizeBytes);
  for (const [block, stamp] of shadow) {
    const bytes = new Uint8Array(new Float64Array(512).fill(stamp).buffer);
    const at = block * bytes.length;
    if (at < sizeBytes) image.set(bytes.subarray(0, Math.min(bytes.length, sizeBytes - at)), at);
  }
  return image;
}
