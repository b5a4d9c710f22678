// The part of a primary that holds the dirty map, with what a power cut could do to it: a write that
// is not on stable storage yet leaves the old page, the new one, or a torn one that nobody believes.

import { ReplicaError } from "../../src/base/errors.ts";
import type { MapPlace } from "../../src/format/primary_layout.ts";
import {
  decodeRegionPage,
  type RegionPage,
  REGIONS_PER_PAGE,
  testRegion,
} from "../../src/format/region_map.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import { assert } from "./assert.ts";
import type { Prng } from "./prng.ts";

const EIO = 5;

/** A place of a page: what is stable there, and what is on its way. Null: nothing valid. */
interface Spot {
  stable: RegionPage | null;
  pending: RegionPage | null;
}

export interface MapDiskOptions {
  readonly random: Prng;
  readonly place: MapPlace;
  /** Every page's first copy; the second is blank. */
  readonly pages: readonly RegionPage[];
  readonly staged: (page: number) => Uint8Array;
}

export class MapDisk {
  /** One write in so many fails, leaving anything behind; 0: none. */
  failOneIn = 0;
  /** The same of writes that are to be stable at once. */
  durableFailOneIn = 0;
  writes = 0;
  /** Called when a flush begins; what it gives is called when that has succeeded. */
  landed: () => () => void = () => () => {};
  readonly #options: MapDiskOptions;
  readonly #spots: Spot[][];
  readonly #queue: (() => void)[] = [];
  #unflushed: Spot[] = [];

  constructor(options: MapDiskOptions) {
    this.#options = options;
    this.#spots = options.pages.map((page) => [
      { stable: page, pending: null },
      { stable: null, pending: null },
    ]);
  }

  /** A write of a staged page that is stable when it is settled: bytes done, or -errno. */
  writeDurably(offsetBytes: number, page: number): () => number {
    const { spot, value } = this.#begin(offsetBytes, this.#options.staged(page));
    return () => {
      spot.pending = null;
      if (this.#fails(this.durableFailOneIn)) {
        this.#leave(spot, value);
        return -EIO;
      }
      spot.stable = value;
      return PAGE_BYTES;
    };
  }

  // ---- the cleaner's side: completes when step() says so ----

  write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const { spot, value } = this.#begin(offsetBytes, bytes);
    return this.#later(() => {
      if (!this.#fails(this.failOneIn)) {
        this.#unflushed.push(spot);
        return;
      }
      spot.pending = null;
      this.#leave(spot, value);
      throw new ReplicaError("kernel", "Cannot write: EIO");
    });
  }

  flush(): Promise<void> {
    const landed = this.landed();
    return this.#later(() => {
      for (const spot of this.#unflushed) {
        spot.stable = spot.pending;
        spot.pending = null;
      }
      this.#unflushed = [];
      landed();
    });
  }

  get busy(): boolean {
    return this.#queue.length > 0;
  }

  step(): void {
    this.#queue.shift()?.();
  }

  // ---- what a power cut leaves ----

  /** Every outcome for every page; null bits: no copy is valid, so every region is named. */
  *survivors(): Generator<{ page: number; bits: Uint8Array | null }> {
    for (const [page, spots] of this.#spots.entries()) {
      const outcomes = spots.map(({ stable, pending }) =>
        pending === null ? [stable] : [stable, pending, null]
      );
      for (const first of outcomes[0]) {
        for (const second of outcomes[1]) yield { page, bits: newest(first, second) };
      }
    }
  }

  /** Regions that the map names now. */
  namedRegions(): number {
    let count = 0;
    for (const { bits } of this.survivors()) {
      for (let region = 0; region < REGIONS_PER_PAGE; region++) {
        if (bits === null || testRegion(bits, region)) count++;
      }
    }
    return count;
  }

  #begin(offsetBytes: number, bytes: Uint8Array): { spot: Spot; value: RegionPage } {
    const { place } = this.#options;
    const within = offsetBytes - place.offsetBytes;
    const copy = Math.floor(within / place.copyBytes);
    const page = within % place.copyBytes / PAGE_BYTES;
    const spot = this.#spots[page][copy];
    const verdict = decodeRegionPage(bytes.slice());
    assert(verdict.kind === "valid", "only sealed pages are written");
    assert(verdict.value.page === page, "a page is written to its own place");
    // A write that was never flushed, because another one of its batch failed, may have landed.
    const left = this.#unflushed.indexOf(spot);
    if (left >= 0) {
      this.#unflushed.splice(left, 1);
      spot.stable = this.#options.random.pick([spot.stable, spot.pending]);
      spot.pending = null;
    }
    const idle = this.#spots[page].every(({ pending }) => pending === null);
    assert(idle, "one write of a page at a time");
    spot.pending = verdict.value;
    this.writes++;
    return { spot, value: verdict.value };
  }

  #fails(oneIn: number): boolean {
    return oneIn > 0 && this.#options.random.oneIn(oneIn);
  }

  /** What a failed write leaves. */
  #leave(spot: Spot, value: RegionPage): void {
    spot.stable = this.#options.random.pick([spot.stable, value, null]);
  }

  #later(effect: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push(() => {
        try {
          effect();
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

function newest(first: RegionPage | null, second: RegionPage | null): Uint8Array | null {
  if (first === null || second === null) return (first ?? second)?.bits ?? null;
  return (first.sequence > second.sequence ? first : second).bits;
}
