// A device as the target, played by a file full of other bytes: every zero stretch must be zeroed,
// and what lies beyond the image stays.

import { copyCheckpoint } from "../../../src/exporter/copy.ts";
import { DeviceTarget } from "../../../src/exporter/device_target.ts";
import { BlockDevice } from "../../../src/primary/block_device.ts";
import { HyperfileReader } from "../../../src/replica/hyperfile_reader.ts";
import { assert, assertEquals } from "../../support/assert.ts";
import { sha256 } from "../../support/image.ts";
import { Prng, seedOf } from "../../support/prng.ts";
import { imageOf, randomReplica } from "../../support/replica_folder.ts";
import { withTempDir } from "../../support/temp_disk.ts";

const BEYOND_BYTES = 3 << 20;

Deno.test("DeviceTarget overwrites everything up to the image's end, and nothing behind it", () =>
  withTempDir(async (folder) => {
    const random = new Prng(seedOf("device_target_test"));
    for (let round = 0; round < 3; round++) {
      const { store, published, lastCno } = await randomReplica(random, 4);
      const { shadow, headSizeBytes } = published.get(lastCno)!;
      const sizeBytes = Math.ceil(headSizeBytes / 512) * 512 + random.below(3) * (5 << 20);
      const path = `${folder}/${round}`;
      await Deno.writeFile(path, new Uint8Array(sizeBytes + BEYOND_BYTES).fill(0xaa));
      const how = { access: "write", buffered: true, exclusive: true } as const;
      const target = new DeviceTarget(await BlockDevice.open(path, how));
      const reader = await HyperfileReader.open(store);
      let positionBytes = 0;
      const dataBytes = await copyCheckpoint(reader, target, {
        sizeBytes,
        concurrency: 1 + random.below(8),
        onProgress(progress) {
          assert(progress.positionBytes >= positionBytes, "the position only grows");
          positionBytes = progress.positionBytes;
        },
      });
      await target.finish();
      await target.close();
      const blocks = [...shadow.keys()].map((block) =>
        Math.min(4096, headSizeBytes - block * 4096)
      );
      assertEquals(dataBytes, blocks.reduce((sum, bytes) => sum + Math.max(0, bytes), 0));
      assertEquals(positionBytes, sizeBytes);
      const expected = new Uint8Array(sizeBytes + BEYOND_BYTES).fill(0xaa);
      expected.fill(0, 0, sizeBytes);
      expected.set(imageOf(shadow, headSizeBytes));
      assertEquals(await sha256(await Deno.readFile(path)), await sha256(expected));
    }
  }));
