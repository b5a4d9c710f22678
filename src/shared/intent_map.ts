// The write-intent map in memory (R4, R5): which regions the primary's dirty map names for certain,
// and which of them a write has touched lately.
//
//   durable  the region's bit stands on the primary's stable storage, for certain
//   wanted   somebody waits until it does
//   touched  a write passed the gate since the last snapshot
//
// The gate, before a change goes to the primary:        The clearing, by the replicator:
//   1. count me, in the counter of the epoch's parity     1. touched := 0
//   2. touched |= mine                                    2. epoch + 1; wait until the old counters are 0
//   3. durable has mine? go; uncount when captured        3. which regions are neither touched nor stale?
//      else: uncount, wanted |= mine, wait                   note the pool's head; wait until a commit
//                                                            covers it; flush the primary
//                                                         4. durable &= ~(those, not touched); look at
//                                                            touched again: durable |= touched meanwhile
//                                                         5. write the page
//
// Invariants:
// 1. A set bit of `durable` is set on the primary. So a change that passed the gate after step 4 is
//    covered; one that passed before is covered until step 4 clears its bit.
// 2. Step 4 clears a bit only if all changes that ever passed for it are on the replica: those of the
//    old epoch were captured or marked stale before 3, those of the new epoch touched the region. The gate touches
//    *before* it looks at `durable`, the clearing clears *before* it looks at `touched` (both
//    sequentially consistent): one of the two sees the other. Looking at `durable` first would not do,
//    not even where the region was already touched: another queue may have touched it in between.
// 3. A change that counted itself in an epoch looks at the epoch again, so a flip that it did not see
//    sees its count. Without that a late one would be counted where the next round does not look.
// 4. A page is composed, written and completed under its lock: one write of a page at a time. Its
//    sequence grows by one with every write that succeeded, so a write never hits the place of the
//    newest copy, and one that failed is followed by one in the same place.
//
// I/O path: no allocation, no await, no exception. Callers: queue/intent_gate.ts,
// replicator/intent_cleaner.ts, the start and the stop of the target.

import { countBits, lowestBit } from "../base/bits.ts";
import { invariant } from "../base/assert.ts";
import {
  type RegionPage,
  REGIONS_PER_PAGE,
  regionsOfPage,
  regionWords,
} from "../format/region_map.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import {
  sealStagedPage,
  STAGED_BITS_WORD,
  STAGED_PAGE_WORDS,
  stageRegionPage,
} from "../format/staged_region_page.ts";
import { INTENT_PAGE_WORDS, QUEUE_WORD, queueWord, type SharedViews, WORD } from "./layout.ts";

export class IntentMap {
  readonly pages: number;
  readonly #words: Int32Array;
  readonly #queues: number;
  readonly #durable: Int32Array;
  readonly #wanted: Int32Array;
  readonly #touched: Int32Array;
  readonly #sequences: Float64Array;
  readonly #locks: Int32Array;
  readonly #staging: Int32Array<SharedArrayBuffer>;
  readonly #regionCount: number;

  constructor(views: SharedViews) {
    const { durable, wanted, touched, sequences, locks, staging } = views.intent;
    this.pages = views.layout.intentPages;
    this.#words = views.words;
    this.#queues = views.layout.queues;
    this.#durable = durable;
    this.#wanted = wanted;
    this.#touched = touched;
    this.#sequences = sequences;
    this.#locks = locks;
    this.#staging = staging;
    this.#regionCount = views.layout.regionCount;
  }

  // ---- gate ----

  /** Counts a change of queue `qid` as in flight; gives the parity to leave() with. */
  enter(qid: number): number {
    const words = this.#words;
    const gated = queueWord(qid) + QUEUE_WORD.gated;
    for (;;) {
      const epoch = Atomics.load(words, WORD.gateEpoch);
      const parity = epoch & 1;
      Atomics.add(words, gated + parity, 1);
      if (Atomics.load(words, WORD.gateEpoch) === epoch) return parity;
      Atomics.sub(words, gated + parity, 1);
    }
  }

  /** The change has its place in the pool, or its regions are marked otherwise, or it never began. */
  leave(qid: number, parity: number): void {
    Atomics.sub(this.#words, queueWord(qid) + QUEUE_WORD.gated + parity, 1);
  }

  /**
   * Touches regions `first` to `last`. -1 when all of them are durable; else asks for those that are
   * not, and gives the first page that lacks some.
   */
  require(first: number, last: number): number {
    const firstWord = first >>> 5;
    const lastWord = last >>> 5;
    let page = -1;
    for (let word = firstWord; word <= lastWord; word++) {
      let mask = -1;
      if (word === firstWord) mask <<= first & 31;
      if (word === lastWord) mask &= -1 >>> (31 - (last & 31));
      if ((Atomics.load(this.#touched, word) & mask) !== mask) {
        Atomics.or(this.#touched, word, mask);
      }
      const lacking = mask & ~Atomics.load(this.#durable, word);
      if (lacking === 0) continue;
      Atomics.or(this.#wanted, word, lacking);
      if (page < 0) page = Math.floor(word / INTENT_PAGE_WORDS);
    }
    return page;
  }

  // ---- writing a page ----

  tryLock(page: number): boolean {
    return Atomics.compareExchange(this.#locks, 2 * page, 0, 1) === 0;
  }

  /** Afterwards the caller wakes who waits: Waiters.ringOthers(), or all queues. */
  unlock(page: number): void {
    const before = Atomics.exchange(this.#locks, 2 * page, 0);
    invariant(before === 1, "only a locked page is unlocked");
  }

  /** Under the lock: makes the staged page say what is durable or wanted now. */
  compose(page: number): void {
    const from = page * INTENT_PAGE_WORDS;
    const at = page * STAGED_PAGE_WORDS;
    const staged = at + STAGED_BITS_WORD - from;
    for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
      this.#staging[staged + word] = Atomics.load(this.#durable, word) |
        Atomics.load(this.#wanted, word);
    }
    sealStagedPage(this.#staging, at, this.#sequences[page] + 1);
  }

  /** The copy, 0 or 1, that the composed page goes to. */
  composedCopy(page: number): number {
    return (this.#sequences[page] + 1) % 2;
  }

  /** Under the lock: the composed page is on stable storage. */
  complete(page: number): void {
    const from = page * INTENT_PAGE_WORDS;
    const staged = page * STAGED_PAGE_WORDS + STAGED_BITS_WORD - from;
    for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
      const bits = this.#staging[staged + word];
      if (bits === 0) continue;
      if ((bits & ~Atomics.load(this.#durable, word)) !== 0) {
        Atomics.or(this.#durable, word, bits);
      }
      if ((bits & Atomics.load(this.#wanted, word)) !== 0) Atomics.and(this.#wanted, word, ~bits);
    }
    this.#sequences[page]++;
  }

  /** The staged page as bytes: page-aligned shared memory. */
  stagedBytes(page: number): Uint8Array<SharedArrayBuffer> {
    const { buffer, byteOffset } = this.#staging;
    return new Uint8Array(buffer, byteOffset + page * PAGE_BYTES, PAGE_BYTES);
  }

  // ---- clearing ----

  /** A page that was never written has no bits to clear. */
  wasWritten(page: number): boolean {
    return this.#sequences[page] > 0;
  }

  /** Steps 1 and 2: begins a generation; gives the parity of the one that ends. */
  beginGeneration(): number {
    for (let page = 0; page < this.pages; page++) {
      if (!this.wasWritten(page)) continue;
      const from = page * INTENT_PAGE_WORDS;
      for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
        if (Atomics.load(this.#touched, word) !== 0) Atomics.store(this.#touched, word, 0);
      }
    }
    return Atomics.add(this.#words, WORD.gateEpoch, 1) & 1;
  }

  /** Changes in flight that passed the gate in epochs of this parity. */
  inFlight(parity: number): number {
    let sum = 0;
    for (let qid = 0; qid < this.#queues; qid++) {
      sum += Atomics.load(this.#words, queueWord(qid) + QUEUE_WORD.gated + parity);
    }
    return sum;
  }

  /** Step 3: adds the regions that are durable, and leaves those that are touched: over all pages. */
  gatherUntouched(gathered: Int32Array): void {
    for (let word = 0; word < gathered.length; word++) {
      gathered[word] |= Atomics.load(this.#durable, word);
      gathered[word] &= ~Atomics.load(this.#touched, word);
    }
  }

  /** Step 4, under the page's lock: how many bits of `gathered` it has cleared. */
  clearUntouched(page: number, gathered: Int32Array): number {
    let cleared = 0;
    const from = page * INTENT_PAGE_WORDS;
    for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
      const durable = Atomics.load(this.#durable, word);
      if (durable === 0) continue;
      const gone = durable & gathered[word] & ~Atomics.load(this.#touched, word);
      if (gone === 0) continue;
      Atomics.and(this.#durable, word, ~gone);
      const back = gone & Atomics.load(this.#touched, word);
      if (back !== 0) Atomics.or(this.#durable, word, back);
      cleared += countBits(gone & ~back);
    }
    return cleared;
  }

  /** Regions of a bitmap over all pages that are durable. */
  countDurable(regions: Int32Array): number {
    let count = 0;
    for (let word = 0; word < regions.length; word++) {
      if (regions[word] !== 0) {
        count += countBits(regions[word] & Atomics.load(this.#durable, word));
      }
    }
    return count;
  }

  // ---- start, stop, status ----

  /** Before the queues start: takes over what the primary holds. */
  load(page: RegionPage): void {
    invariant(page.map === "dirty", "this is the dirty map");
    const from = page.page * INTENT_PAGE_WORDS;
    stageRegionPage(this.#staging, page.page * STAGED_PAGE_WORDS, page);
    this.#durable.set(regionWords(page.bits), from);
    this.#sequences[page.page] = page.sequence;
  }

  /** Nothing is in flight and nothing will be: no region of the page is dirty any more. */
  forgetPage(page: number): void {
    const from = page * INTENT_PAGE_WORDS;
    const end = from + INTENT_PAGE_WORDS;
    this.#durable.fill(0, from, end);
    this.#wanted.fill(0, from, end);
    this.#touched.fill(0, from, end);
  }

  /** Asks for regions of a page, by the bits of one on the primary; the caller then writes it. */
  wantRegions(page: number, bits: Uint8Array): void {
    const from = page * INTENT_PAGE_WORDS;
    const words = regionWords(bits);
    for (let word = 0; word < INTENT_PAGE_WORDS; word++) {
      if (words[word] !== 0) Atomics.or(this.#wanted, from + word, words[word]);
    }
  }

  /** Asks for every region of a page; the caller then writes it. */
  wantPage(page: number): void {
    const from = page * REGIONS_PER_PAGE;
    const end = from + regionsOfPage(this.#regionCount, page);
    for (let region = from; region < end; region++) {
      Atomics.or(this.#wanted, region >>> 5, 1 << (region & 31));
    }
  }

  isDurable(region: number): boolean {
    return (Atomics.load(this.#durable, region >>> 5) >>> (region & 31) & 1) === 1;
  }

  /** The first region at or after `from` that the primary's map names; -1: none. */
  nextDurable(from: number): number {
    const words = this.#durable.length;
    for (let word = from >>> 5, mask = -1 << (from & 31); word < words; word++, mask = -1) {
      const bits = Atomics.load(this.#durable, word) & mask;
      if (bits !== 0) return 32 * word + lowestBit(bits);
    }
    return -1;
  }

  /** Regions that bits of a page on the primary name and this map does not. */
  countUnnamed(page: number, bits: Uint8Array): number {
    const from = page * INTENT_PAGE_WORDS;
    const words = regionWords(bits);
    return words.reduce(
      (sum, word, i) => sum + countBits(word & ~Atomics.load(this.#durable, from + i)),
      0,
    );
  }

  /** Regions that the primary's map names. */
  dirtyCount(): number {
    let count = 0;
    for (let page = 0; page < this.pages; page++) {
      if (!this.wasWritten(page)) continue;
      const from = page * INTENT_PAGE_WORDS;
      for (let word = from; word < from + INTENT_PAGE_WORDS; word++) {
        count += countBits(Atomics.load(this.#durable, word));
      }
    }
    return count;
  }
}
