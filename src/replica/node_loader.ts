// Brings tree nodes from their segments into memory: through the cache, neighbours of one segment in
// one range request, bounded in concurrency.
//
// Every node that leaves here has been checked, in itself and against the place that its parent
// gives it; so walking down a tree ends (levels fall by one) and never follows a wild pointer.

import { dataError } from "../base/errors.ts";
import { KiB, MiB } from "../base/units.ts";
import {
  offsetOf,
  POINTER_UNIT_BYTES,
  type PointerFormat,
  segmentIdOf,
} from "../format/block_ptr.ts";
import {
  countOf,
  keyAt,
  levelOf,
  newNode,
  nodeBytes,
  type NodePlace,
  nodeProblem,
  type NodeWords,
  placeProblem,
  valueWord,
} from "../format/bmap.ts";
import { segmentKey } from "../format/segment.ts";
import type { Limiter } from "./limiter.ts";
import { ByteLru } from "./node_cache.ts";
import type { ObjectStore } from "./object_store.ts";

/** A node by its address, with what its parent promises about it. */
export interface NodeRef extends NodePlace {
  readonly segmentId: number;
  readonly offset: number;
}

/** A gap between two wanted nodes that is cheaper to read than a second request. */
const GAP_BYTES_MAX = 32 * KiB;
const REQUEST_BYTES_MAX = 1 * MiB;
/** 2^32 / 4096: offsets in units, below the segment id in a cache key. */
const UNITS_PER_SEGMENT = 2 ** 20;

function cacheId(segmentId: number, offset: number): number {
  return segmentId * UNITS_PER_SEGMENT + offset / POINTER_UNIT_BYTES;
}

/** A reference to child `slot` of an inner node (or root) whose keys all lie below `endKey`. */
export function childRef(
  parent: NodeWords,
  slot: number,
  endKey: number,
  format: PointerFormat,
): NodeRef {
  const at = valueWord(parent, slot);
  return {
    segmentId: segmentIdOf(parent[at + 1]),
    offset: offsetOf(parent[at], format),
    level: levelOf(parent) - 1,
    firstKey: keyAt(parent, slot),
    endKey: slot + 1 < countOf(parent) ? keyAt(parent, slot + 1) : endKey,
  };
}

function nodeError(ref: NodeRef, reason: string) {
  const object = segmentKey(ref.segmentId);
  return dataError(`Cannot read the tree node in ${object} at ${ref.offset}: ${reason}`, {
    context: { object, offset: ref.offset },
    hint: "The replica is damaged there; an earlier checkpoint may be whole.",
  });
}

export interface NodeLoaderOptions {
  readonly store: ObjectStore;
  readonly limiter: Limiter;
  readonly metaBlockBytes: number;
  readonly format: PointerFormat;
  readonly cacheBytes: number;
}

/** One range request: the indexes of its nodes, in order of offset. */
interface Group {
  readonly segmentId: number;
  readonly start: number;
  end: number;
  readonly members: number[];
}

export class NodeLoader {
  readonly #store: ObjectStore;
  readonly #limiter: Limiter;
  readonly #metaBlockBytes: number;
  readonly #format: PointerFormat;
  readonly #cache: ByteLru<NodeWords>;

  constructor(options: NodeLoaderOptions) {
    this.#store = options.store;
    this.#limiter = options.limiter;
    this.#metaBlockBytes = options.metaBlockBytes;
    this.#format = options.format;
    this.#cache = new ByteLru(options.cacheBytes);
  }

  get cachedBytes(): number {
    return this.#cache.bytes;
  }

  /** A node that is in the cache and fits its place; else undefined. */
  peek(ref: NodeRef): NodeWords | undefined {
    const words = this.#cache.peek(cacheId(ref.segmentId, ref.offset));
    return words !== undefined && placeProblem(words, ref) === null ? words : undefined;
  }

  /** Puts a node that was just written under its address. It must not be changed any more. */
  keep(segmentId: number, offset: number, words: NodeWords): void {
    this.#cache.set(cacheId(segmentId, offset), words);
  }

  /** Forgets the nodes of a segment that is to be deleted. */
  drop(segmentId: number, offset: number): void {
    this.#cache.delete(cacheId(segmentId, offset));
  }

  /** The nodes of `refs`, in their order. The caller must not change them. */
  async load(refs: readonly NodeRef[], signal?: AbortSignal): Promise<NodeWords[]> {
    const nodes = new Array<NodeWords>(refs.length);
    const missing: number[] = [];
    for (let i = 0; i < refs.length; i++) {
      const words = this.#cache.get(cacheId(refs[i].segmentId, refs[i].offset));
      if (words === undefined) missing.push(i);
      else nodes[i] = this.#checkPlace(words, refs[i]);
    }
    if (missing.length > 0) {
      const groups = this.#group(refs, missing);
      await this.#limiter.runAll(groups, (group) => this.#fetch(group, refs, nodes, signal));
    }
    return nodes;
  }

  #checkPlace(words: NodeWords, ref: NodeRef): NodeWords {
    const problem = placeProblem(words, ref);
    if (problem !== null) throw nodeError(ref, problem);
    return words;
  }

  #group(refs: readonly NodeRef[], missing: number[]): Group[] {
    missing.sort((a, b) =>
      refs[a].segmentId - refs[b].segmentId || refs[a].offset - refs[b].offset
    );
    const groups: Group[] = [];
    let open: Group | null = null;
    for (const index of missing) {
      const { segmentId, offset } = refs[index];
      const end = offset + this.#metaBlockBytes;
      if (
        open === null || open.segmentId !== segmentId || offset - open.end > GAP_BYTES_MAX ||
        end - open.start > REQUEST_BYTES_MAX
      ) {
        open = { segmentId, start: offset, end, members: [] };
        groups.push(open);
      }
      open.end = Math.max(open.end, end);
      open.members.push(index);
    }
    return groups;
  }

  async #fetch(
    group: Group,
    refs: readonly NodeRef[],
    nodes: NodeWords[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const key = segmentKey(group.segmentId);
    const range = { offset: group.start, length: group.end - group.start };
    const body = await this.#store.get(key, { range, signal });
    for (const index of group.members) {
      const ref = refs[index];
      if (body === null) throw nodeError(ref, "the segment is missing");
      const at = ref.offset - group.start;
      if (at + this.#metaBlockBytes > body.bytes.length) {
        throw nodeError(ref, `the segment ends at ${body.size}`);
      }
      const words = newNode(this.#metaBlockBytes);
      nodeBytes(words).set(body.bytes.subarray(at, at + this.#metaBlockBytes));
      const limits = { format: this.#format, segmentIdMax: ref.segmentId };
      const problem = nodeProblem(words, limits) ?? placeProblem(words, ref);
      if (problem !== null) throw nodeError(ref, problem);
      this.#cache.set(cacheId(ref.segmentId, ref.offset), words);
      nodes[index] = words;
    }
  }
}
