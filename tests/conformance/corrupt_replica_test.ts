// Damaged replicas: each damage gives a typed error that names the object, never wrong data, a crash
// or a hang. Then random flips of single bytes in everything but the data blocks.
//
// The format has no checksums, so four kinds of damage can't be seen by any reader; the fuzz test
// knows them by name: the size of the file, a count of children that became smaller, a pointer to an
// older copy of the same node, and the data itself. SEED=… replays, ROUNDS=… flips more.

import { ReplicaError } from "../../src/base/errors.ts";
import { InodeRecord } from "../../src/format/inode.ts";
import { SegmentHeader } from "../../src/format/segment.ts";
import { equalBytes } from "../../src/replica/commit_protocol.ts";
import { createWriter, openWriter } from "../support/sole_writer.ts";
import { assert } from "../support/assert.ts";
import { batchOf, stamped } from "../support/batches.ts";
import { readImage } from "../support/image.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { TracedStore } from "../support/traced_store.ts";
import { buildTreeImage } from "../support/tree_image.ts";

const SEGMENT = "0000000001";
const BLOCKS = 64;

/** One segment with a tree of level 4: node 0 is the leftmost of level 3, and so on down. */
function baseImage(): TracedStore {
  const blocks = new Map<number, Uint8Array | null>();
  for (let i = 0; i < 24; i++) blocks.set(i * 2, i === 5 ? null : stamped(i + 1));
  const { store } = buildTreeImage({
    blocks,
    fanOut: 2,
    pointerFormat: 2,
    segments: 1,
    sizeBytes: BLOCKS * 4096,
    random: new Prng(1),
  });
  return store;
}

/** Bytes of the store's two objects, both changed at will; the inode is in both. */
class Tamper {
  readonly store: TracedStore;
  readonly segment: DataView;
  readonly inode: DataView;

  constructor(store: TracedStore) {
    this.store = store;
    this.segment = new DataView(store.bytesOf(SEGMENT).buffer);
    this.inode = new DataView(store.bytesOf("inode").buffer);
  }

  /** Changes the root in the inode and in its copy. */
  root(change: (root: DataView) => void): void {
    change(new DataView(this.inode.buffer, InodeRecord.offset.bmap, 56));
    const at = SegmentHeader.offset.inode + InodeRecord.offset.bmap;
    change(new DataView(this.segment.buffer, at, 56));
  }

  inodes(change: (inode: DataView) => void): void {
    change(this.inode);
    change(new DataView(this.segment.buffer, SegmentHeader.offset.inode, 160));
  }

  /** The leftmost node of a level. */
  node(level: number): DataView {
    let low = this.inode.getUint32(InodeRecord.offset.bmap + 32, true);
    for (;;) {
      const node = new DataView(this.segment.buffer, (low >>> 14) * 4096, 4096);
      if (node.getUint8(1) === level) return node;
      low = node.getUint32(2048, true);
    }
  }

  done(): TracedStore {
    this.store.set(SEGMENT, new Uint8Array(this.segment.buffer));
    this.store.set("inode", new Uint8Array(this.inode.buffer));
    return this.store;
  }
}

function big(hi: number, lo: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo);
}

const DUMMY = big(0x3fffffff, 0xffffffff);
/** In the leftmost node: keys at 8, values at 2048. */
const KEY = 8;
const VALUE = 2048;

type Damage = readonly [name: string, message: string, damage: (t: Tamper) => void];

function inNode(
  name: string,
  message: string,
  level: number,
  damage: (node: DataView) => void,
): Damage {
  return [`${name} at level ${level}`, message, (t) => damage(t.node(level))];
}

const DAMAGES: readonly Damage[] = [
  ["inode cut short", "100 bytes of 160", (t) => {
    const cut = t.store.bytesOf("inode").slice(0, 100);
    t.done = () => (t.store.set("inode", cut), t.store);
  }],
  ["inode and segment differ in the root", "do not agree", (t) => t.inode.setUint8(104 + 41, 9)],
  ["root size", "root of", (t) => t.inodes((v) => v.setUint8(63, 8))],
  ["meta shift too small", "meta shift", (t) => t.inodes((v) => v.setUint8(62, 11))],
  ["meta shift too great", "meta shift", (t) => t.inodes((v) => v.setUint8(62, 21))],
  ["data shift too small", "data shift", (t) => t.inodes((v) => v.setUint8(61, 9))],
  ["data shift too great", "data shift", (t) => t.inodes((v) => v.setUint8(61, 63))],
  ["block sizes differ from the header", "block sizes", (t) => t.inodes((v) => v.setUint8(61, 13))],
  ["pointer format 0", "pointer format", (t) => t.root((v) => v.setUint8(4, 0))],
  ["pointer format 3", "pointer format", (t) => t.root((v) => v.setUint8(4, 3))],
  ["last cno above last seq", "last checkpoint", (t) => t.inodes((v) => v.setUint8(96, 2))],
  ["last seq above 30 bits", "last segment", (t) => t.inodes((v) => v.setUint32(92, 1, true))],
  ["size above 2^53", "out of range", (t) => t.inodes((v) => v.setUint8(23, 0xff))],
  ["root level 0", "level 0", (t) => t.root((v) => v.setUint8(1, 0))],
  ["root level 14", "level 14", (t) => t.root((v) => v.setUint8(1, 14))],
  ["root level one too great", "level 3 where", (t) => t.root((v) => v.setUint8(1, 5))],
  ["root level one too small", "level 3 where", (t) => t.root((v) => v.setUint8(1, 3))],
  ["root flags", "flags", (t) => t.root((v) => v.setUint8(0, 3))],
  ["root with no children", "0 children", (t) => t.root((v) => v.setUint16(2, 0, true))],
  ["root with 4 children", "4 children", (t) => t.root((v) => v.setUint16(2, 4, true))],
  ["root keys out of order", "follows", (t) => t.root((v) => v.setUint8(8, 0xff))],
  ["root key too small", "not below", (t) => t.root((v) => v.setUint8(16, 1))],
  ["dummy in the root", "dummy", (t) => t.root((v) => v.setBigUint64(32, DUMMY, true))],
  ["hole in the root", "a hole", (t) => t.root((v) => v.setBigUint64(32, 0n, true))],
  [
    "zero block as a child",
    "the zero block",
    (t) => t.root((v) => v.setBigUint64(32, big(0x3fffffff, 0), true)),
  ],
  ["location bits 10", "live slot", (t) => t.root((v) => v.setUint32(36, 0x80000001, true))],
  ["location bits 11", "live slot", (t) => t.root((v) => v.setUint32(36, 0xc0000001, true))],
  ["segment 0", "live slot", (t) => t.root((v) => v.setUint32(36, 0x40000000, true))],
  ["a segment of the future", "younger", (t) => t.root((v) => v.setUint32(36, 0x40000002, true))],
  ["root pointer at the header", "offset 0", (t) => t.root((v) => v.setUint32(32, 0, true))],
  [
    "root pointer past the end",
    "the segment ends",
    (t) => t.root((v) => v.setUint32(32, 0xffffc000, true)),
  ],
  [
    "root pointer at data",
    SEGMENT,
    (t) => t.root((v) => v.setUint32(32, ((t.segment.byteLength / 4096 - 1) << 14) >>> 0, true)),
  ],
  ["flat pointers read as such", "offset", (t) => t.root((v) => v.setUint8(4, 1))],
  inNode("too many children", "children in a node", 3, (v) => v.setUint16(2, 256, true)),
  inNode("no children", "0 children", 3, (v) => v.setUint16(2, 0, true)),
  inNode("no children", "0 children", 1, (v) => v.setUint16(2, 0, true)),
  inNode("one child too many", "", 1, (v) => v.setUint16(2, 3, true)),
  inNode("another level", "level", 3, (v) => v.setUint8(1, 2)),
  inNode("level 0", "level 0", 1, (v) => v.setUint8(1, 0)),
  inNode("level 13", "level 13", 3, (v) => v.setUint8(1, 13)),
  inNode("LEAF on an inner node", "flags", 2, (v) => v.setUint8(0, 2)),
  inNode("no LEAF on a leaf", "flags", 1, (v) => v.setUint8(0, 0)),
  inNode("LARGE on an inner node", "flags", 2, (v) => v.setUint8(0, 1)),
  inNode("an unknown flag", "flags", 1, (v) => v.setUint8(0, 0x82)),
  inNode("another first key", "first key", 3, (v) => v.setUint8(KEY, 1)),
  inNode("another first key", "first key", 1, (v) => v.setUint8(KEY, 1)),
  inNode("equal keys", "follows", 1, (v) => v.setUint8(KEY + 8, 0)),
  inNode("another second key", "first key", 2, (v) => v.setUint8(KEY + 8, 5)),
  inNode("another second key", "lists block", 1, (v) => v.setUint8(KEY + 8, 1)),
  inNode("a key in the neighbour's range", "not below", 1, (v) => v.setUint8(KEY + 8, 77)),
  inNode("a key above 2^53", "above 2^53", 1, (v) => v.setUint8(KEY + 15, 1)),
  inNode("the dummy pointer", "dummy", 1, (v) => v.setBigUint64(VALUE, DUMMY, true)),
  inNode("a hole", "a hole", 1, (v) => v.setBigUint64(VALUE, 0n, true)),
  inNode("the zero block", "zero block", 2, (v) => v.setBigUint64(VALUE, big(0x3fffffff, 0), true)),
  inNode("a temporary id", "live slot", 2, (v) => v.setBigUint64(VALUE, 7n, true)),
  inNode("a younger segment", "younger", 1, (v) => v.setUint32(VALUE + 4, 0x40000007, true)),
  inNode(
    "a pointer past the end",
    "the segment ends",
    2,
    (v) => v.setUint32(VALUE, 0xffffc000, true),
  ),
  inNode(
    "a data pointer past the end",
    "outside the data",
    1,
    (v) => v.setUint32(VALUE, 0xffffc000, true),
  ),
  inNode(
    "a data pointer at a node",
    "outside the data",
    1,
    (v) => v.setUint32(VALUE, 0x4000, true),
  ),
  inNode(
    "both pointers to one block",
    "lists block",
    1,
    (v) => v.setUint32(VALUE + 8, v.getUint32(VALUE, true), true),
  ),
  inNode(
    "both pointers to one child",
    "first key",
    2,
    (v) => v.setUint32(VALUE + 8, v.getUint32(VALUE, true), true),
  ),
  inNode(
    "a pointer to itself",
    "level",
    2,
    (v) => v.setUint32(VALUE, ((v.byteOffset / 4096) << 14) >>> 0, true),
  ),
  ["magic", "magic", (t) => t.segment.setUint8(0, 0)],
  ["the segment's number", "calls itself", (t) => t.segment.setUint8(192, 7)],
  ["length of the summary", "summary of", (t) => t.segment.setUint8(8, 1)],
  ["count of data blocks", "summary of", (t) => t.segment.setUint8(204, 1)],
  ["count of nodes too great", "bytes of", (t) => t.segment.setUint8(202, 1)],
  [
    "count of nodes too small",
    SEGMENT,
    (t) => t.segment.setUint32(200, t.segment.getUint32(200, true) - 1, true),
  ],
  ["an entry's block", "lists block", (t) => t.segment.setUint8(208, 1)],
  ["an entry's pointer", "elsewhere", (t) => t.segment.setUint8(208 + 16 + 11, 0x77)],
  ["the segment cut short in its data", "bytes of", (t) => {
    const cut = new Uint8Array(t.segment.buffer).slice(0, -1);
    t.done = () => (t.store.set(SEGMENT, cut), t.store);
  }],
  ["the segment cut short in its nodes", SEGMENT, (t) => {
    const cut = new Uint8Array(t.segment.buffer).slice(0, 4096 + 100);
    t.done = () => (t.store.set(SEGMENT, cut), t.store);
  }],
  ["the segment cut short in its header", "of a header", (t) => {
    const cut = new Uint8Array(t.segment.buffer).slice(0, 200);
    t.done = () => (t.store.set(SEGMENT, cut), t.store);
  }],
  ["the segment empty", "of a header", (t) => {
    t.done = () => (t.store.set(SEGMENT, new Uint8Array()), t.store);
  }],
  ["the segment gone", "missing", (t) => {
    t.done = () => (t.store.inner.objects.delete(SEGMENT), t.store);
  }],
];

async function failure(run: Promise<unknown>): Promise<ReplicaError | null> {
  try {
    await run;
    return null;
  } catch (error) {
    assert(error instanceof ReplicaError, `threw ${(error as Error).stack}`);
    return error;
  }
}

for (const [name, message, damage] of DAMAGES) {
  Deno.test(`HyperfileReader reports damage: ${name}`, async () => {
    const tamper = new Tamper(baseImage());
    damage(tamper);
    const error = await failure(readImage(tamper.done()));
    assert(error !== null, "the damage is found");
    assert(error.kind === "data", `${error.kind}: ${error.message}`);
    assert(error.message.includes(message), `"${error.message}" says "${message}"`);
    assert(typeof error.context.object === "string", `"${error.message}" names an object`);
  });
}

Deno.test("HyperfileWriter does not build on a damaged tree", async () => {
  const batch = batchOf([[0, stamped(9)], [1, stamped(8)]], [{ startBlock: 2, blockCount: 3 }]);
  for (const [name, , damage] of DAMAGES) {
    const tamper = new Tamper(baseImage());
    damage(tamper);
    const store = tamper.done();
    const run = async () => {
      const writer = await openWriter(store, { adopt: true });
      await writer.commit(batch, { mtimeMs: 1 });
    };
    const error = await failure(run());
    // What a commit does not need to read it can't find; then it must not do harm either.
    assert(error === null || error.kind === "data", `${name}: ${error?.kind}`);
    if (error !== null) assert(store.count("put") === 0, `${name}: nothing is written`);
  }
});

/** Damage that no reader can see, by the place of the byte that was flipped. */
function isInvisible(object: string, at: number, store: TracedStore): boolean {
  const isSegment = object !== "inode";
  const inodeAt = isSegment ? at - SegmentHeader.offset.inode : at;
  const { size, ino, atime, lastCno } = InodeRecord.offset;
  if (inodeAt >= size && inodeAt < atime) return true;
  if (!isSegment) return inodeAt >= lastCno && inodeAt < lastCno + 8;
  if (inodeAt >= ino && inodeAt < InodeRecord.size) return false;
  const view = new DataView(store.bytesOf(object).buffer);
  const summary = view.getUint32(SegmentHeader.offset.bytes, true);
  const nodes = Math.ceil(summary / 4096) * 4096;
  if (at < nodes) return false;
  const inNodeAt = (at - nodes) % 4096;
  // The count of children, and the segment of a child.
  if (inNodeAt === 2 || inNodeAt === 3) return true;
  const isInner = view.getUint8(at - inNodeAt + 1) > 1;
  return isInner && inNodeAt >= VALUE && inNodeAt % 8 >= 1;
}

Deno.test("a flipped byte gives an error or the same image", async () => {
  const seed = seedOf("corrupt replica");
  const random = new Prng(seed);
  const bases = [baseImage(), await ownImage()];
  const images = await Promise.all(bases.map((store) => readImage(store)));
  let errors = 0;
  const rounds = Number(Deno.env.get("ROUNDS") ?? 1000);
  for (let round = 0; round < rounds; round++) {
    const which = random.below(bases.length);
    const store = bases[which].clone();
    const object = random.pick(store.keys());
    const raw = store.bytesOf(object);
    const view = new DataView(raw.buffer);
    const end = object === "inode"
      ? raw.length
      : raw.length - 4096 * view.getUint32(SegmentHeader.offset.ndatablk, true);
    // Headers and the live parts of nodes are few bytes among many: aim at them.
    const page = 4096 * random.below(Math.ceil(end / 4096));
    const at = Math.min(end - 1, page + random.pick([random.below(300), 2048 + random.below(64)]));
    if (isInvisible(object, at, store)) continue;
    raw[at] ^= 1 << random.below(8);
    store.set(object, raw);
    const what = `SEED=${seed} round ${round}: ${object} at ${at}`;
    let image: Uint8Array | null = null;
    const error = await failure(readImage(store).then((bytes) => image = bytes));
    if (error !== null) {
      errors++;
      assert(error.kind === "data" || error.kind === "usage", `${what}: ${error.message}`);
    } else assert(image !== null && equalBytes(image, images[which]), `${what}: wrong data`);
  }
  assert(errors > rounds / 20, `${errors} of ${rounds} flips were found`);
});

/** Several segments of our own writer. */
async function ownImage(): Promise<TracedStore> {
  const store = new TracedStore();
  const writer = await createWriter(store, { createdMs: 1, sizeBytes: 600 * 4096 });
  const random = new Prng(4);
  for (let round = 0; round < 5; round++) {
    const blocks = new Map<number, Uint8Array>();
    for (let i = 0; i < 120; i++) {
      const key = random.below(600);
      blocks.set(key, stamped(round * 1000 + key + 1));
    }
    await writer.commit(batchOf(blocks), { mtimeMs: round });
  }
  return store;
}
