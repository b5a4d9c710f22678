// A block device as the target of an export. What it held is lost, so zero stretches are zeroed too;
// bytes beyond the image are left as they are.
//
// Claimed exclusively while it is open: the kernel refuses mounts and other claims meanwhile.

import { EINVAL, EOPNOTSUPP, errno, errnoError } from "../../ffi/errno.ts";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  openLibc,
} from "../../ffi/libc.ts";
import { SharedArea } from "../../ffi/memory.ts";
import { alignUp, KiB, MiB } from "../base/units.ts";
import type { BlockDevice } from "../primary/block_device.ts";
import type { ExportTarget } from "./target.ts";

/** From the cheapest on: unmapping where the drive then reads zeros, else the drive's write zeroes. */
const ZERO_MODES = [
  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
];
const ZEROS_BYTES = 4 * MiB;

export class DeviceTarget implements ExportTarget {
  readonly path: string;
  readonly kind = "block device";
  readonly gapBytesMax = 64 * KiB;
  readonly unitBytes: number;
  readonly #disk: BlockDevice;
  #zeroModes = [...ZERO_MODES];

  /** Takes over `disk`, which is open for writing, exclusively. */
  constructor(disk: BlockDevice) {
    this.path = disk.name;
    this.unitBytes = disk.geometry.logicalBlockBytes;
    this.#disk = disk;
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    await this.#disk.writeFrom(offsetBytes, bytes);
  }

  zero = async (offsetBytes: number, lengthBytes: number): Promise<void> => {
    const length = alignUp(offsetBytes + lengthBytes, this.unitBytes) - offsetBytes;
    while (this.#zeroModes.length > 0) {
      const mode = this.#zeroModes[0];
      if (await this.#allocate(mode, offsetBytes, length)) return;
      this.#zeroModes = this.#zeroModes.filter((other) => other !== mode);
    }
    await this.#writeZeros(offsetBytes, length);
  };

  async finish(): Promise<void> {
    await this.#disk.flush();
  }

  close(): Promise<void> {
    this.#disk.close();
    return Promise.resolve();
  }

  /** False when the device does not know this mode. */
  async #allocate(mode: number, offsetBytes: number, lengthBytes: number): Promise<boolean> {
    const { fallocate, fallocateAsync } = openLibc();
    const args = [this.#disk.fd, mode, BigInt(offsetBytes), BigInt(lengthBytes)] as const;
    if (await fallocateAsync(...args) === 0) return true;
    // The failed call's errno stayed on its thread: the same call here tells, or succeeds.
    const again = fallocate(...args);
    if (again === 0) return true;
    const number = errno();
    if (number === EOPNOTSUPP || number === EINVAL) return false;
    throw errnoError(number, `zero ${this.path}`, { offsetBytes, lengthBytes });
  }

  async #writeZeros(offsetBytes: number, lengthBytes: number): Promise<void> {
    const area = SharedArea.allocate(ZEROS_BYTES);
    try {
      const end = offsetBytes + lengthBytes;
      for (let at = offsetBytes; at < end; at += ZEROS_BYTES) {
        await this.#disk.writeFrom(at, area.bytes.subarray(0, Math.min(ZEROS_BYTES, end - at)));
      }
    } finally {
      area.release();
    }
  }
}
