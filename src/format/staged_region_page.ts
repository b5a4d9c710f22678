// A region map page that is kept ready and sealed in place: the queues write such pages, and their
// path allocates nothing. The bytes are those of encodeRegionPage().
//
// Invariant: everything but the sequence, the bits and the checksum is written once, by
// stageRegionPage(); whoever changes the bits then only calls sealStagedPage().
//
// Pure. `words` is a view of whole pages as 32-bit words, `at` the index of a page's first word; both
// the file format and every machine that we run on are little-endian.

import { crc32OfWords } from "./crc32.ts";
import { encodeRegionPage, RegionMapPage, type RegionPage } from "./region_map.ts";
import { PAGE_BYTES } from "./sealed_page.ts";

/** Words of a page, and the first of those with its bits. */
export const STAGED_PAGE_WORDS = PAGE_BYTES / 4;
export const STAGED_BITS_WORD = RegionMapPage.offset.bits / 4;

const CHECKSUM_WORD = RegionMapPage.offset.checksum / 4;
const SEQUENCE_WORD = RegionMapPage.offset.sequence / 4;
const TWO_32 = 2 ** 32;

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
  words[at + CHECKSUM_WORD] = crc32OfWords(words, at, at + STAGED_PAGE_WORDS);
}
