// The whole way to S3 - writer, retries, client, network - with a fault at every single request, and
// at many at random: every commit gets through in the end, and every checkpoint holds what it should.

import { ReplicaError } from "../../src/base/errors.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { openWriter } from "../support/sole_writer.ts";
import { createHyperfile } from "../../src/replica/create_hyperfile.ts";
import { DAEMON_RETRY, RetryStore } from "../../src/replica/retry_store.ts";
import type { S3Options } from "../../src/replica/s3_settings.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { type Fault, nameOfFault, startFaultProxy, USUAL_FAULTS } from "../support/fault_proxy.ts";
import { readImage } from "../support/image.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { startS3Server } from "../support/s3_server.ts";

const BLOCK = 4 * KiB;
/** Small enough for three worlds a second, large enough that the last segment goes in two parts. */
const BATCHES: readonly (readonly [number, number])[] = [[0, 4], [2, 40], [0, 1400]];
const COMMIT_TRIES_MAX = 30;

const server = await startS3Server();
const proxy = startFaultProxy({ targetPort: server.port });
globalThis.addEventListener("unload", () => {
  proxy.stop();
  server.stop();
});

const FAULTS: readonly Fault[] = [...USUAL_FAULTS, { type: "early-status", status: 503 }];

function throughProxy(root: S3Options): RetryStore {
  const limits = { idleTimeoutMs: 700, slowestBytesPerSecond: 1_000 * MiB, partBytes: 5 * MiB };
  const store = new S3Store({ ...root, ...limits, endpoint: proxy.endpoint });
  return new RetryStore(store, {
    policy: { ...DAEMON_RETRY, backoff: { firstMs: 2, capMs: 20 }, maxElapsedMs: 10_000 },
  });
}

/** Creates a replica, commits every batch, and compares each checkpoint with what it should be. */
async function live(): Promise<void> {
  const root = await server.createRoot();
  const options = { metaBlockBytes: BLOCK, dataBlockBytes: BLOCK, createdMs: 1_700_000_000_000 };
  const direct = new S3Store(root);
  await createHyperfile(direct, options);
  const store = throughProxy(root);
  const writer = await patiently(() => openWriter(store, { adopt: true }));
  const expected: Uint8Array[] = [];
  let image = new Uint8Array();
  for (const [step, [start, count]] of BATCHES.entries()) {
    const blocks = Array.from(
      { length: count },
      (_, i) => [start + i, stamped(step * 10_000 + i + 1)] as const,
    );
    const batch = batchOf(blocks);
    const sizeBytes = Math.max(image.length, (start + count) * BLOCK);
    const { cno } = await patiently(() =>
      writer.commit(batch, { mtimeMs: 1_700_000_001_000, sizeBytes })
    );
    assertEquals(cno, step + 1);
    const next = new Uint8Array(sizeBytes);
    next.set(image);
    for (const [index, bytes] of blocks) next.set(bytes, index * BLOCK);
    image = next;
    expected.push(next);
  }
  writer.close();
  proxy.plan = () => null;
  await store.close();
  for (const [i, wanted] of expected.entries()) {
    const got = await readImage(direct, i + 1);
    assert(
      got.length === wanted.length && got.every((byte, at) => byte === wanted[at]),
      `cno ${i + 1}`,
    );
  }
  await direct.close();
}

/** Repeats what failed with `unavailable`, as the replicator does; anything else is a failure. */
async function patiently<T>(run: () => Promise<T>): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      return await run();
    } catch (error) {
      const again = error instanceof ReplicaError && error.kind === "unavailable" &&
        tries < COMMIT_TRIES_MAX;
      if (!again) throw error;
    }
  }
}

async function requestsOfAQuietLife(): Promise<number> {
  proxy.reset();
  await live();
  return proxy.requests.length;
}

const requests = await requestsOfAQuietLife();

for (const fault of FAULTS) {
  const name = nameOfFault(fault);
  Deno.test(`a replica survives ${name} at every single request`, async () => {
    for (let at = 1; at <= requests; at++) {
      proxy.reset();
      proxy.plan = ({ number }) => number === at ? fault : null;
      try {
        await live();
      } catch (error) {
        const { kind, target } = proxy.requests[at - 1];
        throw new Error(`${name} at request ${at}, ${kind} ${target}`, { cause: error });
      }
    }
  });
}

Deno.test("a replica survives a network where every sixth request goes wrong", async () => {
  const seed = seedOf("replica fault");
  for (let world = 0; world < 6; world++) {
    const prng = new Prng(seed + world);
    proxy.reset();
    proxy.plan = () => prng.oneIn(6) ? prng.pick(FAULTS) : null;
    await live();
  }
});
