// Two daemons on one replica: they start, take over from each other, copy their primary, commit, stop,
// die and come back, in any order of their requests, with requests lost, answered late or arriving after
// their sender's death. In every world:
// - every checkpoint that was ever published can be read, holds exactly what one of the primaries held
//   at that point, and what was acknowledged as checkpoint N is checkpoint N for ever;
// - nothing is listed that was never published;
// - in the end at most one writer gets anything published: the last one whose claim touched the inode.

import { ReplicaError } from "../../src/base/errors.ts";
import { decodeInode } from "../../src/format/inode.ts";
import type { CheckpointBatch } from "../../src/format/checkpoint_batch.ts";
import type { ReplicaClaim } from "../../src/replica/claim.ts";
import { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { listCheckpoints, readHead } from "../../src/replica/inode_reader.ts";
import { hasStamp } from "../../src/replica/touch_inode.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { Claimant, formatReplica } from "../support/claimant.ts";
import { readImage } from "../support/image.ts";
import { Interleaving, type StoreProcess } from "../support/interleaving.ts";
import { setImmediate } from "node:timers";
import { Prng, seedOf } from "../support/prng.ts";

const BLOCKS = 12;
const WORLDS = 200;
const STEPS = 400;

/** A primary: a stamp per block. */
type Image = readonly number[];

/** What the worlds had to deal with, so that a test that meets nothing is noticed. */
const met = { commits: 0, fenced: 0, takeOvers: 0, crashes: 0, adopted: 0, refused: 0 };

class World {
  readonly prng: Prng;
  readonly steps: Interleaving;
  readonly published = new Set<number>();
  /** Every image that anybody tried to publish. */
  readonly attempted = new Set<string>();
  readonly acknowledged = new Map<number, string>();
  stamp = 0;

  constructor(seed: number) {
    this.prng = new Prng(seed);
    this.steps = new Interleaving(this.prng, { faultOneIn: 15 });
    this.steps.onChange = () => {
      const inode = this.steps.store.objects.get("inode");
      if (inode) this.published.add(decodeInode(inode.bytes, "inode").lastCno);
    };
  }

  get ending(): boolean {
    return this.steps.steps > STEPS;
  }
}

class Daemon {
  readonly #world: World;
  readonly #claimant: Claimant;
  #image: number[] = new Array(BLOCKS).fill(0);
  /** The newest checkpoint in the flush log. */
  #recordedCno = 0;
  writer: HyperfileWriter | null = null;
  claim: ReplicaClaim | null = null;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#claimant = new Claimant(name);
  }

  /** Starts again and again until the world ends. */
  async live(): Promise<void> {
    const { steps, prng } = this.#world;
    while (!this.#world.ending) {
      const process = steps.spawn();
      try {
        await this.#run(process);
      } catch (error) {
        if (!(error instanceof ReplicaError)) throw error;
        assert(["fenced", "closed", "unavailable"].includes(error.kind), `${error}`);
        if (error.kind === "fenced") met[this.writer ? "fenced" : "refused"]++;
        if (error.kind === "closed") met.crashes++;
      }
      // Those that are left at the end are asked once more.
      if (this.#world.ending) return;
      process.kill();
      for (let pause = prng.below(20); pause > 0; pause--) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }

  async #run(process: StoreProcess): Promise<void> {
    const { prng } = this.#world;
    this.writer = null;
    const dying = prng.oneIn(3) ? prng.below(120) : Infinity;
    const store = mortal(process, dying);
    const claim = await this.#claimant.take(store, { takeOver: prng.oneIn(3) });
    if (claim.from === "other") met.takeOvers++;
    this.claim = claim;
    const writer = await this.#open(store, claim);
    this.writer = writer;
    await claim.settle();
    await this.#copy(writer);
    for (let count = prng.below(12); count > 0 && !this.#world.ending; count--) {
      this.#write(1 + prng.below(3));
      await this.#commit(writer, this.#batch(() => true), true);
    }
    if (this.#world.ending || !prng.oneIn(3)) return;
    writer.close();
    await claim.release();
  }

  async #open(store: StoreProcess, claim: ReplicaClaim): Promise<HyperfileWriter> {
    const { inode } = await readHead(store);
    const heldEpoch = this.#claimant.claim?.heldEpoch ?? 0;
    const adoptEpoch = inode.lastCno === this.#recordedCno ? heldEpoch : null;
    const writer = await HyperfileWriter.openClaimed(store, { claim, adoptEpoch });
    if (writer.orphans.adopted !== null) met.adopted++;
    this.#recordedCno = writer.lastCno;
    return writer;
  }

  /** The whole primary in staged segments, as a resync does it; sometimes given up and begun again. */
  async #copy(writer: HyperfileWriter): Promise<void> {
    const { prng } = this.#world;
    this.#write(1);
    await this.#commit(writer, this.#batch((i) => i % 2 === 0), false);
    if (prng.oneIn(4)) {
      await patiently(() => writer.discardStaged());
      await this.#commit(writer, this.#batch((i) => i % 2 === 0), false);
    }
    await this.#commit(writer, this.#batch((i) => i % 2 === 1), true);
  }

  #write(count: number): void {
    for (; count > 0; count--) {
      this.#image[this.#world.prng.below(BLOCKS)] = ++this.#world.stamp;
    }
  }

  #batch(chosen: (block: number) => boolean): CheckpointBatch {
    const blocks = this.#image.map((stamp, i) => [i, stamped(stamp)] as const);
    return batchOf(blocks.filter(([i]) => chosen(i)));
  }

  async #commit(writer: HyperfileWriter, batch: CheckpointBatch, publish: boolean): Promise<void> {
    const image = textOf(this.#image);
    if (publish) this.#world.attempted.add(image);
    const options = { mtimeMs: 5, publish, sizeBytes: BLOCKS * 4096 };
    const { cno, segmentId } = await patiently(() => writer.commit(batch, options));
    if (!publish || segmentId === 0) return;
    met.commits++;
    this.#recordedCno = cno;
    assertEquals(this.#world.acknowledged.get(cno) ?? image, image, `checkpoint ${cno} twice`);
    this.#world.acknowledged.set(cno, image);
  }

  /** One more commit, when all is quiet. */
  async commitOnce(): Promise<boolean> {
    if (this.writer === null || this.writer.hasPending) return false;
    try {
      this.#write(1);
      await this.#commit(this.writer, this.#batch(() => true), true);
      return true;
    } catch (error) {
      if (error instanceof ReplicaError && /fenced|closed/.test(error.kind)) return false;
      throw error;
    }
  }
}

/** A store whose process dies at its `last` request. */
function mortal(process: StoreProcess, last: number): StoreProcess {
  if (last === Infinity) return process;
  let left = last;
  return new Proxy(process, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (left-- === 0) queueMicrotask(() => target.kill());
        return value.apply(target, args);
      };
    },
  });
}

/** As the replicator does it: again for as long as it takes. */
async function patiently<T>(step: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.kind !== "unavailable") throw error;
    }
  }
}

function textOf(image: Image): string {
  return image.join(" ");
}

function imageOf(bytes: Uint8Array<ArrayBuffer>): string {
  const words = new Float64Array(bytes.buffer);
  const perBlock = 4096 / 8;
  const image = Array.from({ length: BLOCKS }, (_, i) => words[i * perBlock]);
  for (const [i, stamp] of image.entries()) {
    const block = words.subarray(i * perBlock, (i + 1) * perBlock);
    assert(block.every((word) => word === stamp), `block ${i} is whole`);
  }
  return textOf(image);
}

async function checkWorld(world: World): Promise<void> {
  const { store } = world.steps;
  const listed = await Array.fromAsync(listCheckpoints(store), ({ cno }) => cno);
  const published = [...world.published].filter((cno) => cno > 0).sort((a, b) => a - b);
  assertEquals(listed, published, "what is listed was published");
  for (const cno of listed) {
    const image = imageOf(await readImage(store, cno));
    assert(world.attempted.has(image), `checkpoint ${cno} is what one primary held: ${image}`);
    assertEquals(image, world.acknowledged.get(cno) ?? image, `checkpoint ${cno}`);
  }
  for (const cno of world.acknowledged.keys()) assert(world.published.has(cno), `${cno} stays`);
}

/** Everybody who still has a writer commits: nobody gets through but who holds the claim. */
async function checkLastWord(world: World, daemons: readonly Daemon[]): Promise<void> {
  const { store } = world.steps;
  world.steps.faultOneIn = 0;
  const through: Daemon[] = [];
  const tries = daemons.map(async (daemon) => {
    if (await daemon.commitOnce()) through.push(daemon);
  });
  await world.steps.run(tries);
  assert(through.length <= 1, "at most one is not fenced");
  // A later claim may stand on the card already, by a process that died before it touched the inode.
  const { inode } = await readHead(store);
  for (const { claim } of through) assert(hasStamp(inode, claim?.epoch ?? 0), "by its stamp");
}

async function playWorld(seed: number): Promise<void> {
  const world = new World(seed);
  await formatReplica(world.steps.store);
  const daemons = ["a", "b"].map((name) => new Daemon(world, name));
  await world.steps.run(daemons.map((daemon) => daemon.live()));
  await checkWorld(world);
  await checkLastWord(world, daemons);
  await checkWorld(world);
}

Deno.test("two daemons on one replica never interleave", async () => {
  const first = seedOf("two_writers");
  for (let world = 0; world < WORLDS; world++) {
    const seed = (first + world) >>> 0;
    await playWorld(seed).catch((cause) => {
      throw new Error(`the world of SEED=${seed}: ${cause.message}`, { cause });
    });
  }
  const { adopted: _rare, ...often } = met;
  for (const [name, count] of Object.entries(often)) {
    assert(count > WORLDS / 10, `${name}: ${count}`);
  }
});
