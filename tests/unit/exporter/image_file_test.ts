import { ReplicaError } from "../../../src/base/errors.ts";
import { ImageFile } from "../../../src/exporter/image_file.ts";
import { assertEquals, assertRejects } from "../../support/assert.ts";

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
