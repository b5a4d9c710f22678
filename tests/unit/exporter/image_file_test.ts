import { ReplicaError } from "../../../src/base/errors.ts";
import { ImageFile } from "../../../src/exporter/image_file.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";

Deno.test("an export names its image only where nothing has appeared meanwhile, and keeps it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/disk.img`;
    const image = await ImageFile.create(path, { sizeBytes: 4096, force: false, guard: null });
    await image.write(0, new Uint8Array(4096).fill(7));
    await Deno.writeTextFile(path, "somebody's");
    await assertRejects(() => image.finish(), ReplicaError, "a file of that name has appeared");
    await image.close();
    assertEquals(await Deno.readTextFile(path), "somebody's");
    assertEquals(await Deno.readFile(`${path}.partial`), new Uint8Array(4096).fill(7));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("an export that waits for another one never empties its finished image", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/disk.img`;
    const options = { sizeBytes: 4096, force: true, guard: null };
    const first = await ImageFile.create(path, options);
    const second = assertRejects(
      () => ImageFile.create(path, options),
      ReplicaError,
      "another export has finished it",
    );
    await first.write(0, new Uint8Array(4096).fill(7));
    await first.finish();
    await first.close();
    await second;
    assertEquals(await Deno.readFile(path), new Uint8Array(4096).fill(7));
    assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["disk.img"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
