// What the simulated guest writes: every sector says which request wrote it and where it belongs, so
// that any image can be read as a table of request numbers. 0 stands for zeros.

import { SECTOR } from "../../src/base/units.ts";
import { violated } from "./trace.ts";

const MAGIC = 0x57a3b001;
const WORDS = SECTOR / 4;

/** Fills whole sectors as request `id` writes them to `startSector` on. */
export function writeStamps(bytes: Uint8Array, id: number, startSector: number): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  words.fill(id);
  for (let at = 0, sector = startSector; at < words.length; at += WORDS, sector++) {
    words[at] = MAGIC;
    words[at + 1] = id;
    words[at + 2] = sector;
  }
}

/** The bytes of one sector that request `id` wrote; of zeros for 0. */
export function sectorBytes(id: number, sector: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SECTOR);
  if (id !== 0) writeStamps(bytes, id, sector);
  return bytes;
}

/** The request that each sector of `image` shows. Fails on anything that nobody ever wrote. */
export function readStamps(image: Uint8Array, what: string): Int32Array {
  const words = new Int32Array(image.buffer, image.byteOffset, image.length / 4);
  const stamps = new Int32Array(image.length / SECTOR);
  for (let sector = 0, at = 0; sector < stamps.length; sector++, at += WORDS) {
    const id = words[at + 1];
    stamps[sector] = id;
    const whole = id === 0
      ? words[at] === 0 && words[at + 2] === 0 && words[at + WORDS - 1] === 0
      : words[at] === MAGIC && words[at + 2] === sector && words[at + WORDS - 1] === id;
    if (!whole) violated(`${what}: sector ${sector} is torn or foreign (it shows ${id})`);
  }
  return stamps;
}
