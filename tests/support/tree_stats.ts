// The nodes of a replica's tree, counted: how many per level, how full, in which order of keys.

import { capacityOf, countOf, isDirect, levelOf, type NodeWords } from "../../src/format/bmap.ts";
import { rootWords } from "../../src/format/bmap.ts";
import { geometryOf } from "../../src/format/inode.ts";
import { readInode } from "../../src/replica/inode_reader.ts";
import { Limiter } from "../../src/replica/limiter.ts";
import { childRef, NodeLoader } from "../../src/replica/node_loader.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";

export interface TreeStats {
  /** 0 for a direct root. */
  readonly rootLevel: number;
  readonly rootChildren: number;
  /** By level, from 1: the children of each node in order of keys. */
  readonly counts: readonly number[][];
  readonly capacity: number;
}

export async function treeStats(store: ObjectStore): Promise<TreeStats> {
  const { inode } = (await readInode(store))!;
  const { metaBlockBytes, pointerFormat: format } = geometryOf(inode, "inode");
  const limiter = new Limiter(8);
  const loader = new NodeLoader({ store, limiter, metaBlockBytes, format, cacheBytes: 0 });
  const root = rootWords(inode.bmap);
  const rootLevel = isDirect(root) ? 0 : levelOf(root);
  const counts: number[][] = [];
  let capacity = 0;
  let parents: { words: NodeWords; endKey: number }[] = [{ words: root, endKey: Infinity }];
  for (let level = rootLevel - 1; level >= 1; level--) {
    const refs = parents.flatMap(({ words, endKey }) =>
      Array.from({ length: countOf(words) }, (_, slot) => childRef(words, slot, endKey, format))
    );
    const nodes = await loader.load(refs);
    counts[level] = nodes.map(countOf);
    capacity = capacityOf(nodes[0]);
    parents = nodes.map((words, i) => ({ words, endKey: refs[i].endKey }));
  }
  return { rootLevel, rootChildren: countOf(root), counts, capacity };
}

/** Children per slot, over all nodes of a level. */
export function fillOf(stats: TreeStats, level: number): number {
  const counts = stats.counts[level];
  return counts.reduce((sum, count) => sum + count, 0) / (counts.length * stats.capacity);
}
