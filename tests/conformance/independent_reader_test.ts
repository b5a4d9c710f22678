// Our replicas, as a reader sees them that shares no code with the program: every checkpoint of random
// histories has the same contents, and every promise of our writer holds. The same reader also agrees
// with ours on what the original implementation wrote.

import { FileStore } from "../../src/replica/file_store.ts";
import { assertEquals } from "../support/assert.ts";
import { stamped } from "../support/batches.ts";
import {
  type ModelledFile,
  randomFile,
  runHistory,
  type Shadow,
} from "../support/hyperfile_model.ts";
import { sha256 } from "../support/image.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { TracedStore } from "../support/traced_store.ts";

const READER = new URL("independent_reader.py", import.meta.url).pathname;
const FIXTURES = new URL("../fixtures/", import.meta.url);

interface Report {
  readonly folder: string;
  readonly checkpoints: readonly {
    cno: number;
    error?: string;
    digest?: string;
    mapped?: number;
  }[];
}

async function runReader(
  args: string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = new Deno.Command("python3", { args: [READER, ...args] });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** What the independent reader prints as digest: the size and each block that is not zero. */
function digestOf(shadow: Shadow, sizeBytes: number, blockBytes: number): Promise<string> {
  const parts: Uint8Array[] = [new Uint8Array(new BigUint64Array([BigInt(sizeBytes)]).buffer)];
  for (const block of [...shadow.keys()].sort((a, b) => a - b)) {
    if (block * blockBytes >= sizeBytes) continue;
    parts.push(new Uint8Array(new BigUint64Array([BigInt(block)]).buffer));
    const bytes = stamped(shadow.get(block)!, blockBytes);
    bytes.fill(0, Math.min(blockBytes, sizeBytes - block * blockBytes));
    parts.push(bytes);
  }
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return sha256(all);
}

async function compare(file: ModelledFile, report: Report): Promise<void> {
  const errors = report.checkpoints.filter((row) => row.error !== undefined);
  assertEquals(errors, []);
  const rows = new Map(report.checkpoints.map((row) => [row.cno, row]));
  for (const [cno, { shadow, sizeBytes, headSizeBytes }] of file.published) {
    const { dataBlockBytes } = file.shape;
    if (cno === file.writer.lastCno) {
      assertEquals(rows.get(0)?.digest, await digestOf(shadow, headSizeBytes, dataBlockBytes));
    }
    if (cno === 0) continue;
    assertEquals(rows.get(cno)?.mapped, shadow.size, `mapped blocks of checkpoint ${cno}`);
    assertEquals(rows.get(cno)?.digest, await digestOf(shadow, sizeBytes, dataBlockBytes));
  }
}

Deno.test("an independent reader finds what our writer promises", async () => {
  const seed = seedOf("independent reader");
  const folder = await Deno.makeTempDir({ prefix: "hyperfile-" });
  try {
    const histories = Deno.env.has("SEED") ? 1 : Number(Deno.env.get("HISTORIES") ?? 16);
    const files: ModelledFile[] = [];
    for (let i = 0; i < histories; i++) {
      const random = new Prng((seed + i) >>> 0);
      const path = `${folder}/${i}`;
      // Every fourth replica is in a folder from the start.
      const traced = new TracedStore();
      const own = i % 4 === 0 ? await FileStore.open({ path, access: "create" }) : traced;
      const file = await randomFile(random, { own, batchMax: 200 });
      await runHistory(file, 5 + random.below(20));
      if (own === traced) await traced.dump(path);
      await own.close();
      files.push(file);
    }
    const args = ["--writer", ...files.map((_, i) => `${folder}/${i}`)];
    const { stdout, stderr } = await runReader(args);
    assertEquals(stderr, "");
    const reports = stdout.trim().split("\n").map((line) => JSON.parse(line) as Report);
    assertEquals(reports.length, files.length);
    for (let i = 0; i < files.length; i++) {
      try {
        await compare(files[i], reports[i]);
      } catch (cause) {
        throw new Error(`history failed: replay with SEED=${(seed + i) >>> 0}`, { cause });
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the independent reader reads the fixtures", async () => {
  const readme = await Deno.readTextFile(new URL("README.md", FIXTURES));
  const out = await Deno.makeTempFile();
  try {
    let images = 0;
    for (const line of readme.split("\n")) {
      const cells = line.split("|").map((cell) => cell.trim());
      if (cells.length !== 8 || !/^[0-9a-f]{64}$/.test(cells[6])) continue;
      const [, replica, checkpoint, , , , hash] = cells;
      const folder = new URL(replica, FIXTURES).pathname;
      const cno = checkpoint === "head" ? "0" : checkpoint;
      const { code, stderr } = await runReader(["--cno", cno, "--image", out, folder]);
      assertEquals([code, stderr], [0, ""]);
      assertEquals(await sha256(await Deno.readFile(out)), hash, `${replica} at ${checkpoint}`);
      images++;
    }
    assertEquals(images, 14);
  } finally {
    await Deno.remove(out);
  }
});
