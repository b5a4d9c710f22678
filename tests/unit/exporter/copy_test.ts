// The copy under bad conditions: interrupted, or with a store that fails on the way.

import { ReplicaError } from "../../../src/base/errors.ts";
import { copyCheckpoint } from "../../../src/exporter/copy.ts";
import { ImageFile } from "../../../src/exporter/image_file.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { Prng } from "../../support/prng.ts";
import { stamped } from "../../support/batches.ts";
import { withTempDir } from "../../support/temp_disk.ts";
import { buildTreeImage } from "../../support/tree_image.ts";

const SIZE = 256 << 20;

/** One block every 4 MiB. */
function scattered() {
  const blocks = new Map(Array.from({ length: 64 }, (_, i) => [i * 1024, stamped(i + 1)] as const));
  const image = { blocks, fanOut: 4, pointerFormat: 2, segments: 3, sizeBytes: SIZE } as const;
  return buildTreeImage({ ...image, random: new Prng(3) }).store;
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name);
}

Deno.test("copyCheckpoint() stops when it is aborted, and nothing of the image stays", () =>
  withTempDir(async (folder) => {
    const abort = new AbortController();
    const reader = await HyperfileReader.open(scattered());
    const image = { sizeBytes: SIZE, force: false, guard: null };
    const target = await ImageFile.create(`${folder}/image`, image);
    assertEquals(namesIn(folder), ["image.partial"]);
    let dataBytes = 0;
    const copy = copyCheckpoint(reader, target, {
      sizeBytes: SIZE,
      concurrency: 4,
      signal: abort.signal,
      onProgress(progress) {
        dataBytes = progress.dataBytes;
        if (dataBytes === 10 * 4096) abort.abort("SIGINT");
      },
    });
    await assertRejects(() => copy, ReplicaError, "");
    assert(dataBytes < 64 * 4096, "it did not go on to the end");
    await target.close();
    assertEquals(namesIn(folder), []);
  }));

Deno.test("copyCheckpoint() throws the first failure when nothing runs any more", () =>
  withTempDir(async (folder) => {
    const store = scattered();
    const reader = await HyperfileReader.open(store, { concurrency: 4 });
    store.hook = ({ range }) =>
      range?.length === 4096 && range.offset > 60_000 ? "lost" : undefined;
    const image = { sizeBytes: SIZE, force: false, guard: null };
    const target = await ImageFile.create(`${folder}/image`, image);
    const copy = copyCheckpoint(reader, target, { sizeBytes: SIZE, concurrency: 4 });
    await assertRejects(() => copy, ReplicaError, "no answer");
    const { length } = store.requests;
    assert(store.runningMax <= 4, `${store.runningMax} requests at once`);
    await target.close();
    assertEquals([store.requests.length, namesIn(folder)], [length, []]);
  }));

Deno.test("ImageFile.create() refuses what another export is writing", () =>
  withTempDir(async (folder) => {
    const image = { sizeBytes: SIZE, guard: null };
    const path = `${folder}/image`;
    const target = await ImageFile.create(path, { ...image, force: false });
    await assertRejects(
      () => ImageFile.create(path, { ...image, force: true }),
      ReplicaError,
      "in use",
    );
    await assertRejects(
      () => ImageFile.create(path, { ...image, force: false }),
      ReplicaError,
      "such a",
    );
    await target.finish();
    await target.close();
    const { size, blocks } = await Deno.stat(path);
    assertEquals([size, blocks, namesIn(folder)], [SIZE, 0, ["image"]]);
  }));
