// Builds replicas by hand, for shapes that our writer never makes: nodes with few children (so that
// a small image has a deep tree), either pointer format, nodes in any order and spread over several
// segments, garbage in everything that a reader has to ignore. Shares no code with the writer.

import type { Prng } from "./prng.ts";
import { TracedStore } from "./traced_store.ts";

export interface TreeImage {
  /** Bytes of each mapped block; null is the zero block. */
  readonly blocks: ReadonlyMap<number, Uint8Array | null>;
  /** Children of a node, at most; the root has 3. */
  readonly fanOut: number;
  readonly pointerFormat: 1 | 2;
  readonly segments: number;
  readonly sizeBytes: number;
  readonly blockBytes?: number;
  readonly nodeBytes?: number;
  /** Garbage in unused slots and slack. */
  readonly garbage?: boolean;
  readonly random: Prng;
}

interface Block {
  readonly key: number;
  readonly bytes: Uint8Array;
  segment: number;
  pointer: bigint;
}

interface Node {
  readonly level: number;
  /** Children: nodes, data blocks, or null for the zero block. */
  readonly children: readonly { readonly key: number; readonly child: Node | Block | null }[];
  segment: number;
  offset: number;
  pointer: bigint;
}

const ZERO_BLOCK = 0x3fffffff00000000n;
const DUMMY = 0x3fffffffffffffffn;

function pointer(segment: number, offset: number, seq: number, format: 1 | 2): bigint {
  const low = format === 1
    ? BigInt(offset)
    : (BigInt(offset / 4096) << 14n) | (BigInt(seq >> 4) & 0x3fffn);
  return (1n << 62n) | (BigInt(segment) << 32n) | low;
}

/** Groups children into nodes of one level. */
function layer(children: Node["children"], level: number, fanOut: number): Node[] {
  const nodes: Node[] = [];
  for (let at = 0; at < children.length; at += fanOut) {
    const group = children.slice(at, at + fanOut);
    nodes.push({ level, children: group, segment: 0, offset: 0, pointer: 0n });
  }
  return nodes;
}

function writeNode(view: DataView, node: Node, image: TreeImage, root: boolean): void {
  const size = view.byteLength;
  const capacity = Math.floor((size - 8) / 16);
  if (image.garbage) {
    for (let i = 8; i + 8 <= size; i += 8) {
      const junk = [DUMMY, BigInt(image.random.next()), ZERO_BLOCK, pointer(1, 4096, 0, 2)];
      view.setBigUint64(i, image.random.pick(junk), true);
    }
  }
  view.setUint8(0, (root ? 1 : 0) | (node.level === 1 ? 2 : 0));
  view.setUint8(1, node.level);
  view.setUint16(2, node.children.length, true);
  view.setUint32(4, root ? image.pointerFormat : 0, true);
  node.children.forEach(({ key, child }, i) => {
    view.setBigUint64(8 + 8 * i, BigInt(key), true);
    view.setBigUint64(8 + 8 * capacity + 8 * i, child?.pointer ?? ZERO_BLOCK, true);
  });
}

function inodeBytes(image: TreeImage, cno: number, root: Uint8Array): Uint8Array {
  const { blockBytes = 4096, nodeBytes = 4096 } = image;
  const raw = new Uint8Array(160);
  const view = new DataView(raw.buffer);
  view.setBigUint64(8, BigInt(Math.ceil(image.sizeBytes / 512)), true);
  view.setBigUint64(16, BigInt(image.sizeBytes), true);
  view.setBigUint64(40, BigInt(1_700_000_000 + cno), true);
  const shifts = (Math.log2(nodeBytes) << 16) | (Math.log2(blockBytes) << 8);
  view.setUint32(60, (7 << 24) | shifts | image.pointerFormat, true);
  view.setUint32(64, 501, true);
  view.setUint32(68, 502, true);
  view.setUint32(72, 0o100600, true);
  view.setUint32(76, 0xabcd, true);
  view.setBigUint64(80, 1n, true);
  view.setBigUint64(88, BigInt(cno), true);
  view.setBigUint64(96, BigInt(cno), true);
  raw.set(root, 104);
  return raw;
}

function emptyRoot(format: number): Uint8Array {
  const root = new Uint8Array(56);
  root[1] = 1;
  root[4] = format;
  return root;
}

/** The tree of an image: its root and all other nodes, leaves first. */
function plant(image: TreeImage): { root: Node; nodes: Node[]; blocks: Block[] } {
  const blocks: Block[] = [];
  let children: Node["children"] = [...image.blocks].sort((a, b) => a[0] - b[0]).map(
    ([key, bytes]) => {
      if (bytes === null) return { key, child: null };
      const segment = 1 + image.random.below(image.segments);
      const block = { key, bytes, segment, pointer: 0n };
      blocks.push(block);
      return { key, child: block };
    },
  );
  const nodes: Node[] = [];
  let level = 1;
  for (; children.length > 3; level++) {
    const made = layer(children, level, image.fanOut);
    for (const node of made) {
      const oldest = Math.max(1, ...node.children.map((c) => c.child?.segment ?? 1));
      node.segment = oldest + image.random.below(image.segments - oldest + 1);
    }
    nodes.push(...made);
    children = made.map((node) => ({ key: node.children[0].key, child: node }));
  }
  const root = { level, children, segment: image.segments, offset: 0, pointer: 0n };
  return { root, nodes, blocks };
}

/** The store of an image. Its newest checkpoint is number `segments`; those before are empty. */
export function buildTreeImage(image: TreeImage): { store: TracedStore; rootLevel: number } {
  const { blockBytes = 4096, nodeBytes = 4096, pointerFormat: format } = image;
  const { root, nodes, blocks } = plant(image);
  const store = new TracedStore();
  const segments: { id: number; nodes: Node[]; blocks: Block[]; metaOffset: number }[] = [];
  for (let id = 1; id <= image.segments; id++) {
    const own = nodes.filter((node) => node.segment === id);
    for (let i = own.length - 1; i > 0; i--) {
      const j = image.random.below(i + 1);
      [own[i], own[j]] = [own[j], own[i]];
    }
    const data = blocks.filter((block) => block.segment === id);
    const metaOffset = Math.ceil((208 + 16 * data.length) / 4096) * 4096;
    let seq = 0;
    for (const node of own) {
      node.offset = metaOffset + seq * nodeBytes;
      node.pointer = pointer(id, node.offset, seq++, format);
    }
    const dataOffset = metaOffset + own.length * nodeBytes;
    data.forEach((block, i) => {
      block.pointer = pointer(id, dataOffset + i * blockBytes, seq++, format);
    });
    segments.push({ id, nodes: own, blocks: data, metaOffset });
  }
  const rootRaw = new Uint8Array(56);
  if (root.children.length === 0) rootRaw.set(emptyRoot(format));
  else writeNode(new DataView(rootRaw.buffer), root, image, true);
  for (const segment of segments) {
    const dataOffset = segment.metaOffset + segment.nodes.length * nodeBytes;
    const raw = new Uint8Array(dataOffset + segment.blocks.length * blockBytes);
    const view = new DataView(raw.buffer);
    view.setUint32(0, 0x48465353, true);
    view.setUint32(8, 208 + 16 * segment.blocks.length, true);
    view.setUint8(14, Math.log2(nodeBytes));
    view.setUint8(15, Math.log2(blockBytes));
    const isLast = segment.id === image.segments;
    const ownImage = isLast ? image : { ...image, sizeBytes: 0 };
    raw.set(inodeBytes(ownImage, segment.id, isLast ? rootRaw : emptyRoot(format)), 24);
    view.setBigUint64(192, BigInt(segment.id), true);
    view.setUint32(200, segment.nodes.length, true);
    view.setUint32(204, segment.blocks.length, true);
    segment.blocks.forEach((block, i) => {
      view.setBigUint64(208 + 16 * i, BigInt(block.key), true);
      view.setBigUint64(216 + 16 * i, block.pointer, true);
      raw.set(block.bytes, dataOffset + i * blockBytes);
    });
    for (const node of segment.nodes) {
      writeNode(new DataView(raw.buffer, node.offset, nodeBytes), node, image, false);
    }
    store.set(String(segment.id).padStart(10, "0"), raw);
  }
  store.set("inode", inodeBytes(image, image.segments, rootRaw));
  return { store, rootLevel: root.level };
}
