// One batch applied to a tree, copy on write: which nodes it touches, and loading just those.
//
// From the root down, level by level: each inner node splits the sorted batch among its children. A
// child without changes is left alone, one that lies wholly in a deleted range is dropped without
// being read, the rest are loaded, a whole level in parallel. Then tree_rebuild.ts makes the new
// nodes in one pass.
//
// Invariants: nodes that came from the loader are never changed; nothing here knows where the new
// nodes will lie (their pointers stay unplaced until the segment is laid out).

import type { PointerFormat } from "../format/block_ptr.ts";
import { countOf, isDirect, keyAt, levelOf, type NodeWords } from "../format/bmap.ts";
import type { Mutations } from "./mutations.ts";
import { childRef, type NodeLoader, type NodeRef } from "./node_loader.ts";
import {
  hoistCandidate,
  rebuildTree,
  Slot,
  type Touched,
  type TreeChange,
} from "./tree_rebuild.ts";

export interface UpdateOptions {
  readonly root: NodeWords;
  readonly loader: NodeLoader;
  readonly format: PointerFormat;
  readonly metaBlockBytes: number;
  readonly signal?: AbortSignal;
}

/** Splits the batch's share of `node` among its children. Returns the references to load. */
function splitShare(
  node: Touched,
  mutations: Mutations,
  format: PointerFormat,
  refs: NodeRef[],
  loads: Touched[],
): void {
  const { words } = node;
  const { putKeys, deleteStart, deleteEnd } = mutations;
  const count = countOf(words);
  const slots = new Uint8Array(count);
  let put = node.putFrom;
  let del = node.deleteFrom;
  for (let slot = 0; slot < count; slot++) {
    const first = keyAt(words, slot);
    const end = slot + 1 < count ? keyAt(words, slot + 1) : node.endKey;
    const putFrom = put;
    while (put < node.putTo && putKeys[put] < end) put++;
    while (del < node.deleteTo && deleteEnd[del] <= first) del++;
    let deleteTo = del;
    while (deleteTo < node.deleteTo && deleteStart[deleteTo] < end) deleteTo++;
    if (put === putFrom && deleteTo === del) continue;
    if (put === putFrom && deleteStart[del] <= first && deleteEnd[del] >= end) {
      slots[slot] = Slot.dropped;
      continue;
    }
    slots[slot] = Slot.touched;
    const child: Touched = {
      words,
      endKey: end,
      putFrom,
      putTo: put,
      deleteFrom: del,
      deleteTo,
      slots: null,
      children: [],
    };
    node.children.push(child);
    refs.push(childRef(words, slot, node.endKey, format));
    loads.push(child);
  }
  node.slots = slots;
}

/** The new tree that `mutations` make of the one at `options.root`. */
export async function updateTree(
  mutations: Mutations,
  options: UpdateOptions,
): Promise<TreeChange> {
  const { root, loader, format, signal } = options;
  const top: Touched = {
    words: root,
    endKey: Infinity,
    putFrom: 0,
    putTo: mutations.putCount,
    deleteFrom: 0,
    deleteTo: mutations.deleteCount,
    slots: null,
    children: [],
  };
  let level = isDirect(root) ? 1 : levelOf(root);
  for (let nodes = [top]; level > 1; level--) {
    const refs: NodeRef[] = [];
    const loads: Touched[] = [];
    for (const node of nodes) splitShare(node, mutations, format, refs, loads);
    const words = await loader.load(refs, signal);
    for (let i = 0; i < loads.length; i++) loads[i].words = words[i];
    nodes = loads;
  }
  const change = rebuildTree(top, mutations, options);
  // A root with one child left unread may take over that child's entries.
  for (let ref = hoistCandidate(change, format); ref !== null;) {
    const [child] = await loader.load([ref], signal);
    ref = change.hoist(child) ? hoistCandidate(change, format) : null;
  }
  return change;
}
