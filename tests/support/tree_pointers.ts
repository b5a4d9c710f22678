// All pointers and all nodes of a tree, read with nothing but docs/format.md: what a comparison of two
// trees has to agree with. Shares no code with the readers.

import type { TracedStore } from "./traced_store.ts";

export interface TreePointers {
  /** Pointers of the blocks: segment, offset, or "zero". */
  readonly blocks: ReadonlyMap<number, string>;
  /** Addresses of the nodes below the root. */
  readonly nodes: ReadonlySet<string>;
}

interface Format {
  readonly nodeBytes: number;
  readonly isFlat: boolean;
}

function segmentBytes(store: TracedStore, id: number): Uint8Array {
  return store.bytesOf(String(id).padStart(10, "0"));
}

/** The 160 bytes of the inode in the header of segment `cno`. */
export function carriedInodeBytes(store: TracedStore, cno: number): Uint8Array {
  return segmentBytes(store, cno).slice(24, 24 + 160);
}

function place(pointer: bigint, { isFlat }: Format): { id: number; offset: number } {
  const low = Number(pointer & 0xffffffffn);
  const id = Number(pointer >> 32n & 0x3fffffffn);
  return { id, offset: isFlat ? low : Math.floor(low / 2 ** 14) * 4096 };
}

/** What the tree of an inode of 160 bytes holds. */
export function treePointers(store: TracedStore, inode: Uint8Array): TreePointers {
  const view = new DataView(inode.buffer, inode.byteOffset, inode.byteLength);
  const format = { nodeBytes: 2 ** view.getUint8(62), isFlat: view.getUint8(108) === 1 };
  const blocks = new Map<number, string>();
  const nodes = new Set<string>();
  function addBlock(block: number, pointer: bigint): void {
    const { id, offset } = place(pointer, format);
    blocks.set(block, pointer === 0x3fffffff00000000n ? "zero" : `${id}:${offset}`);
  }
  function addNode(node: DataView): void {
    const capacity = Math.floor((node.byteLength - 8) / 16);
    for (let i = 0; i < node.getUint16(2, true); i++) {
      const pointer = node.getBigUint64(8 + 8 * capacity + 8 * i, true);
      if (node.getUint8(1) === 1) {
        addBlock(Number(node.getBigUint64(8 + 8 * i, true)), pointer);
        continue;
      }
      const { id, offset } = place(pointer, format);
      nodes.add(`${id}:${offset}`);
      const { buffer, byteOffset } = segmentBytes(store, id);
      addNode(new DataView(buffer, byteOffset + offset, format.nodeBytes));
    }
  }
  const root = new DataView(inode.buffer, inode.byteOffset + 104, 56);
  if ((root.getUint8(0) & 1) !== 0) addNode(root);
  else {
    for (let block = 0; block < 6; block++) {
      const pointer = root.getBigUint64(8 + 8 * block, true);
      if (pointer !== 0n) addBlock(block, pointer);
    }
  }
  return { blocks, nodes };
}

/** The blocks that differ between two trees, ascending, and how many nodes only one of them has. */
export function bruteDifference(
  one: TreePointers,
  other: TreePointers,
): { blocks: number[]; nodes: number } {
  const blocks = [...new Set([...one.blocks.keys(), ...other.blocks.keys()])]
    .filter((block) => one.blocks.get(block) !== other.blocks.get(block))
    .sort((a, b) => a - b);
  return { blocks, nodes: one.nodes.symmetricDifference(other.nodes).size };
}
