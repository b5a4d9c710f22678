// The primary's staged map, kept by the replicator: what a resync that is under way need not send again
// after a crash, because it lies in segments that are staged.
//
//   a region's bit   all that the primary held in it, flushed, when the bit was set is in the chain of
//                    staged segments up to the page's segment; what was written later has set the
//                    region's dirty bit before. So dirty wins over staged.
//
// Invariants:
// 1. A page names the checkpoint that its segments follow. Once they are published the replica's newest
//    checkpoint is another one, and the page speaks of nothing any more: nobody has to empty it in time.
// 2. Before another chain follows the same checkpoint the pages of the first one are emptied
//    (staged_start.ts): one name never means two chains.
// 3. A page that is written again keeps its bits and names a later segment: what was true of a chain
//    stays true while the chain grows.
// 4. Update n of a page goes to copy n mod 2, as in the other maps; one that failed is repeated there.
//
// Callers: intent_cleaner.ts while a resync runs, staged_start.ts before.

import type { MapPlace, PrimaryLayout } from "../format/primary_layout.ts";
import {
  encodeRegionPage,
  REGION_BITS_BYTES,
  REGION_MAP_COPIES,
  type RegionPage,
  REGIONS_PER_PAGE,
  regionWords,
  type StagedTag,
  testRegion,
} from "../format/region_map.ts";
import { bitRun } from "../base/bits.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import { readKeptMap } from "../primary/dirty_map.ts";
import type { Disk } from "../primary/disk.ts";
import { INTENT_PAGE_WORDS } from "../shared/layout.ts";

/** The staged segments as they are now. */
export interface StagedChain {
  /** The checkpoint that they follow. */
  readonly baseCno: number;
  /** The last of them. */
  readonly segmentId: number;
  /** The copy of the whole device that is under way; 0: none is. */
  readonly wholeCopy: number;
}

export class StagedMap {
  readonly #disk: Pick<Disk, "write" | "flush">;
  readonly #place: MapPlace;
  readonly #pages: RegionPage[];
  /** Pages of which it is not known what they said. */
  readonly doubtful: ReadonlySet<number>;
  /** What the bits in memory belong to. */
  #key = "";

  private constructor(disk: Disk, place: MapPlace, pages: RegionPage[], doubtful: Set<number>) {
    this.#disk = disk;
    this.#place = place;
    this.#pages = pages;
    this.doubtful = doubtful;
  }

  /** Null: the primary has no such map. `wallMs`: as for readKeptMap(). */
  static async load(
    disk: Disk,
    layout: PrimaryLayout,
    uuid: string,
    wallMs = 0,
  ): Promise<StagedMap | null> {
    const offsetBytes = layout.stagedMapOffsetBytes;
    if (offsetBytes === null) return null;
    const { pages, doubtful } = await readKeptMap(disk, layout, { uuid, map: "staged", wallMs });
    const place = { offsetBytes, copyBytes: layout.mapPages * PAGE_BYTES };
    return new StagedMap(disk, place, [...pages], new Set(doubtful.map(({ page }) => page)));
  }

  get pages(): readonly RegionPage[] {
    return this.#pages;
  }

  /** What the map says of segments after checkpoint `baseCno`; null: nothing. */
  chainAfter(baseCno: number): StagedTag | null {
    const tags = this.#pages.flatMap(({ staged }) => staged?.baseCno === baseCno ? [staged] : []);
    if (tags.length === 0) return null;
    return {
      baseCno,
      segmentId: Math.max(...tags.map(({ segmentId }) => segmentId)),
      isWhole: tags.some(({ isWhole }) => isWhole),
    };
  }

  /** Goes on with `chain`: of a copy of the whole device only what was copied by it counts. */
  resume({ baseCno, isWhole }: StagedTag): void {
    this.#forget((tag) => tag.baseCno !== baseCno || isWhole && !tag.isWhole);
    this.#key = keyOf({ baseCno, wholeCopy: isWhole ? 1 : 0 });
  }

  /** Whether the chain has the region, but for later writes. */
  holds(region: number): boolean {
    const page = this.#pages[Math.floor(region / REGIONS_PER_PAGE)];
    return page !== undefined && testRegion(page.bits, region % REGIONS_PER_PAGE);
  }

  /** The regions that the chain does not have: a bitmap over all pages. */
  lacking(chain: StagedChain): Int32Array {
    const lacking = new Int32Array(this.#pages.length * INTENT_PAGE_WORDS);
    const isOurs = this.#key === keyOf(chain);
    for (const { page, regionCount, bits } of this.#pages) {
      const words = lacking.subarray(page * INTENT_PAGE_WORDS, (page + 1) * INTENT_PAGE_WORDS);
      words.fill(-1, 0, regionCount >>> 5);
      if ((regionCount & 31) !== 0) words[regionCount >>> 5] = bitRun(0, regionCount & 31);
      if (isOurs) regionWords(bits).forEach((word, at) => words[at] &= ~word);
    }
    return lacking;
  }

  /**
   * Pages with regions that an earlier copy has put into the same chain. add() forgets them, so the
   * dirty map has to name them before.
   */
  outdatedBy(chain: StagedChain): RegionPage[] {
    if (this.#key === keyOf(chain)) return [];
    return this.#pages.filter(({ staged, bits }) =>
      staged?.baseCno === chain.baseCno && bits.some((byte) => byte !== 0)
    );
  }

  /** Names the regions of `add`, a bitmap over all pages, for certain. Durable when it resolves. */
  async add(pages: readonly number[], chain: StagedChain, add: Int32Array): Promise<void> {
    if (this.#key !== keyOf(chain)) {
      this.#forget(() => true);
      this.#key = keyOf(chain);
    }
    const { baseCno, segmentId, wholeCopy } = chain;
    const staged = { baseCno, segmentId, isWhole: wholeCopy > 0 };
    await this.#write(pages.map((page) => {
      const value = this.#pages[page];
      const bits = value.bits.slice();
      const words = regionWords(bits);
      for (let word = 0; word < INTENT_PAGE_WORDS; word++) {
        words[word] |= add[page * INTENT_PAGE_WORDS + word];
      }
      return { ...value, sequence: value.sequence + 1, staged, bits };
    }));
  }

  /**
   * The chain contradicts itself: no copy of the whole device goes on with it. What the pages name stays
   * named, for a crash before the superblock asks for such a copy.
   */
  async distrust(): Promise<void> {
    const whole = this.#pages.filter(({ staged }) => staged?.isWhole);
    await this.#write(whole.map((value) => ({
      ...value,
      sequence: value.sequence + 1,
      staged: value.staged && { ...value.staged, isWhole: false },
    })));
  }

  /** Empties pages. Durable when it resolves. */
  async empty(pages: readonly number[]): Promise<void> {
    await this.#write(pages.map((page) => {
      const value = this.#pages[page];
      const bits = new Uint8Array(REGION_BITS_BYTES);
      return { ...value, sequence: value.sequence + 1, staged: null, bits };
    }));
  }

  async #write(pages: readonly RegionPage[]): Promise<void> {
    if (pages.length === 0) return;
    const { offsetBytes, copyBytes } = this.#place;
    for (const value of pages) {
      const copy = value.sequence % REGION_MAP_COPIES;
      const at = offsetBytes + copy * copyBytes + value.page * PAGE_BYTES;
      await this.#disk.write(at, encodeRegionPage(value));
    }
    await this.#disk.flush();
    for (const value of pages) this.#pages[value.page] = value;
  }

  /** In memory only: what lies on the primary speaks of what it names. */
  #forget(isStrange: (tag: StagedTag) => boolean): void {
    for (const [page, value] of this.#pages.entries()) {
      if (value.staged !== null && !isStrange(value.staged)) continue;
      this.#pages[page] = { ...value, bits: new Uint8Array(REGION_BITS_BYTES) };
    }
  }
}

function keyOf({ baseCno, wholeCopy }: Omit<StagedChain, "segmentId">): string {
  return `${baseCno}/${wholeCopy}`;
}
