// Which regions a replica block lies in, and which blocks a region lies in. A region is any number of
// sectors, so neither is a multiple of the other: a block may lie in several regions, and a region may
// begin and end inside a block. The way from one to the other is bytes, rounded outwards: what is
// named may be more than was touched, never less.
//
// Bytes of a device are below 2^47, so doubles hold them and their quotients exactly enough to be
// rounded down (tests/unit/shared/region_grid_test.ts).
//
// I/O path: no allocation. Callers: queue/replica_handler.ts, the replicator's marks and repair.

import type { SharedLayout } from "./layout.ts";

export class RegionGrid {
  readonly #unitBytes: number;
  readonly #regionBytes: number;
  readonly #deviceBlocks: number;

  constructor(layout: Pick<SharedLayout, "unitBytes" | "regionBytes" | "deviceBlocks">) {
    this.#unitBytes = layout.unitBytes;
    this.#regionBytes = layout.regionBytes;
    this.#deviceBlocks = layout.deviceBlocks;
  }

  /** The region of the first byte of `block`. */
  firstRegion(block: number): number {
    return Math.floor(block * this.#unitBytes / this.#regionBytes);
  }

  /** The region of the last byte of `block`. */
  lastRegion(block: number): number {
    return Math.floor(((block + 1) * this.#unitBytes - 1) / this.#regionBytes);
  }

  /** The block of the first byte of `region`. */
  firstBlock(region: number): number {
    return Math.floor(region * this.#regionBytes / this.#unitBytes);
  }

  /** The block behind that of the last byte of `region`, none beyond the device. */
  endBlock(region: number): number {
    const end = Math.ceil((region + 1) * this.#regionBytes / this.#unitBytes);
    return Math.min(end, this.#deviceBlocks);
  }
}
