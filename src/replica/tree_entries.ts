// A growing list of tree entries (key and pointer) as flat arrays: what a node is rebuilt from.

import { keyAt, newNode, type NodeWords, setHeader, valueWord } from "../format/bmap.ts";

const TWO_32 = 2 ** 32;

export class Entries {
  count = 0;
  keys: Float64Array;
  hi: Uint32Array;
  lo: Uint32Array;

  constructor(capacity: number) {
    this.keys = new Float64Array(capacity);
    this.hi = new Uint32Array(capacity);
    this.lo = new Uint32Array(capacity);
  }

  clear(): void {
    this.count = 0;
  }

  /** Makes room for `more` entries, which push() needs. */
  reserve(more: number): void {
    const needed = this.count + more;
    if (needed <= this.keys.length) return;
    const grown = new Entries(Math.max(needed, 2 * this.keys.length));
    grown.keys.set(this.keys.subarray(0, this.count));
    grown.hi.set(this.hi.subarray(0, this.count));
    grown.lo.set(this.lo.subarray(0, this.count));
    this.keys = grown.keys;
    this.hi = grown.hi;
    this.lo = grown.lo;
  }

  push(key: number, hi: number, lo: number): void {
    const at = this.count++;
    this.keys[at] = key;
    this.hi[at] = hi;
    this.lo[at] = lo;
  }

  /** Appends entries `from` to `to - 1` of a node. */
  pushFrom(words: NodeWords, from: number, to: number): void {
    this.reserve(to - from);
    for (let i = from; i < to; i++) {
      const at = valueWord(words, i);
      this.push(keyAt(words, i), words[at + 1], words[at]);
    }
  }

  /** Writes entries `from` to `to - 1` into a node, starting at its slot `slot`. */
  copyTo(words: NodeWords, slot: number, from: number, to: number): void {
    let key = 2 + 2 * slot;
    let value = valueWord(words, slot);
    for (let i = from; i < to; i++, key += 2, value += 2) {
      words[key] = this.keys[i] % TWO_32;
      words[key + 1] = this.keys[i] / TWO_32;
      words[value] = this.lo[i];
      words[value + 1] = this.hi[i];
    }
  }

  /** A new node of `blockBytes` holding entries `from` to `to - 1`; everything unused is zero. */
  toNode(blockBytes: number, level: number, from: number, to: number): NodeWords {
    const words = newNode(blockBytes);
    setHeader(words, level, to - from);
    this.copyTo(words, 0, from, to);
    return words;
  }
}
