// Two writers on one replica in a real S3 server: each takes it over from the other in the middle of its
// commits. The loser is fenced, and what either was told is published stays what it is.

import { ReplicaError } from "../../src/base/errors.ts";
import type { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { listCheckpoints } from "../../src/replica/inode_reader.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { Claimant, formatReplica } from "../support/claimant.ts";
import { readImage } from "../support/image.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { startS3Server } from "../support/s3_server.ts";

const BLOCKS = 4;
const TAKEOVERS = 5;

const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());

/** What was acknowledged: the stamp that all blocks of a checkpoint have. */
const acknowledged = new Map<number, number>();
let stamp = 0;

async function commit(writer: HyperfileWriter): Promise<void> {
  const mine = ++stamp;
  const blocks = Array.from({ length: BLOCKS }, (_, i) => [i, stamped(mine)] as const);
  const { cno } = await writer.commit(batchOf(blocks), { mtimeMs: 5 });
  assert(!acknowledged.has(cno), `checkpoint ${cno} is one writer's`);
  acknowledged.set(cno, mine);
}

/** Commits until that is not allowed any more; resolves to the kind of error. */
async function commitUntilFenced(writer: HyperfileWriter): Promise<string> {
  try {
    while (true) await commit(writer);
  } catch (error) {
    if (error instanceof ReplicaError) return error.kind;
    throw error;
  }
}

Deno.test("a writer that is taken over is fenced, and no segment is another's", async () => {
  const prng = new Prng(seedOf("two_writers_s3"));
  const root = await server.createRoot();
  const stores = [new S3Store(root), new S3Store(root)];
  await formatReplica(stores[0]);
  const claimants = [new Claimant("a"), new Claimant("b")];
  let ended: Promise<string> | null = null;
  for (let turn = 0; turn <= TAKEOVERS; turn++) {
    const [store, claimant] = [stores[turn % 2], claimants[turn % 2]];
    const { writer, claim } = await claimant.attach(store, { takeOver: true });
    assertEquals(claim.from, turn === 0 ? "free" : "other");
    if (prng.oneIn(2)) await commit(writer);
    if (ended !== null) assertEquals(await ended, "fenced");
    ended = commitUntilFenced(writer);
    await new Promise((resolve) => setTimeout(resolve, prng.below(80)));
    if (turn === TAKEOVERS) {
      writer.close();
      assertEquals(await ended, "closed");
      await claim.release();
    }
  }
  const listed = await Array.fromAsync(listCheckpoints(stores[0]), ({ cno }) => cno);
  assert(listed.length >= acknowledged.size, "every acknowledged checkpoint stands");
  for (const [cno, wanted] of acknowledged) {
    const words = new Float64Array((await readImage(stores[0], cno)).buffer);
    assert(words.every((word) => word === wanted), `checkpoint ${cno}`);
  }
  await Promise.all(stores.map((store) => store.close()));
});
