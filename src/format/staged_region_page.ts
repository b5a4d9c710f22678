// A region map page that is kept ready and sealed in place: the queues write such pages, and their
// path allocates nothing. The bytes are those of encodeRegionPage().
//
// Invariant: everything but the sequence, the bits and the checksum is written once, by
// stageRegionPage(); whoever changes the bits then only calls sealStagedPage().
//
// Pure. `words` is a view of whole pages as 32-bit words, `at` the index of a page's first word; both
// the file format and every machine that we run on are little-endian.

import { encodeRegionPage, RegionMapPage, type RegionPage } from "./region_map.ts";
import { PAGE_BYTES } from "./sealed_page.ts";

/** Words of a page, and the first of those with its bits. */
export const STAGED_PAGE_WORDS = PAGE_BYTES / 4;
export const STAGED_BITS_WORD = RegionMapPage.offset.bits / 4;

const CHECKSUM_WORD = RegionMapPage.offset.checksum / 4;
const SEQUENCE_WORD = RegionMapPage.offset.sequence / 4;
const TWO_32 = 2 ** 32;

/** CRC-32 (IEEE, reflected): TABLE[n * 256 + b] is byte b followed by n zero bytes. */
const TABLE = checksumTable();

function checksumTable(): Int32Array {
  const table = new Int32Array(4 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) !== 0 ? 0xedb88320 : 0);
    table[byte] = crc;
  }
  for (let i = 256; i < table.length; i++) {
    const before = table[i - 256];
    table[i] = (before >>> 8) ^ table[before & 0xff];
  }
  return table;
}

/** Fills a page in, with the bits and the sequence of `page`. */
export function stageRegionPage(words: Int32Array, at: number, page: RegionPage): void {
  const bytes = encodeRegionPage(page);
  words.set(new Int32Array(bytes.buffer), at);
}

/** Makes a staged page whose bits were changed a valid page with this sequence. */
export function sealStagedPage(words: Int32Array, at: number, sequence: number): void {
  const high = Math.floor(sequence / TWO_32);
  words[at + SEQUENCE_WORD] = sequence - high * TWO_32;
  words[at + SEQUENCE_WORD + 1] = high;
  words[at + CHECKSUM_WORD] = 0;
  let crc = -1;
  for (let i = at; i < at + STAGED_PAGE_WORDS; i++) {
    crc ^= words[i];
    crc = TABLE[768 + (crc & 0xff)] ^ TABLE[512 + (crc >>> 8 & 0xff)] ^
      TABLE[256 + (crc >>> 16 & 0xff)] ^ TABLE[crc >>> 24];
  }
  words[at + CHECKSUM_WORD] = ~crc;
}
