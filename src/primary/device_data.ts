// The device's part of a primary, as the replicator reads it: for resync and for comparisons. Holes of
// files are found by SEEK_DATA and SEEK_HOLE, so that a first copy of a sparse image costs what it holds.
//
// Callers: src/replicator/room_system.ts.

import { errno, errnoError } from "../../ffi/errno.ts";
import { openLibc, SEEK_DATA, SEEK_HOLE } from "../../ffi/libc.ts";
import type { BlockDevice } from "./block_device.ts";

/** No data at or after the offset. */
const ENXIO = 6;

/** Bytes `startBytes` to `endBytes - 1`. */
export interface DataSpan {
  readonly startBytes: number;
  readonly endBytes: number;
}

export class DeviceData {
  readonly #primary: BlockDevice;
  readonly sizeBytes: number;

  constructor(primary: BlockDevice, deviceSizeBytes: number) {
    this.#primary = primary;
    this.sizeBytes = deviceSizeBytes;
  }

  /** The next span that may hold anything but zeros, at or after `offsetBytes`; null: none. */
  nextData(offsetBytes: number): DataSpan | null {
    if (offsetBytes >= this.sizeBytes) return null;
    if (this.#primary.geometry.kind === "block device") {
      return { startBytes: offsetBytes, endBytes: this.sizeBytes };
    }
    const startBytes = this.#seek(offsetBytes, SEEK_DATA);
    if (startBytes === null || startBytes >= this.sizeBytes) return null;
    const endBytes = this.#seek(startBytes, SEEK_HOLE) ?? this.sizeBytes;
    return { startBytes, endBytes: Math.min(endBytes, this.sizeBytes) };
  }

  /** Fills `into`, which lies in page-aligned memory that stays reachable. */
  readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    return this.#primary.readIntoOrGiveUp(offsetBytes, into);
  }

  #seek(offsetBytes: number, whence: number): number | null {
    const found = openLibc().lseek(this.#primary.fd, BigInt(offsetBytes), whence);
    if (found >= 0n) return Number(found);
    const number = errno();
    if (number === ENXIO) return null;
    throw errnoError(number, `look for data in ${this.#primary.name}`, { offsetBytes });
  }
}
