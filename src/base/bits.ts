// Bits of 32-bit words, as the shared bitmaps keep them.

const WORD_BITS = 32;

/** `count` bits (1 to 32) from bit `from` on, all within the word. */
export function bitRun(from: number, count: number): number {
  return count === WORD_BITS ? -1 : ((1 << count) - 1) << from;
}

/** How many bits of a word are set. */
export function countBits(word: number): number {
  let x = word - ((word >>> 1) & 0x5555_5555);
  x = (x & 0x3333_3333) + ((x >>> 2) & 0x3333_3333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** The place of the lowest bit of a word that has one. */
export function lowestBit(word: number): number {
  return WORD_BITS - 1 - Math.clz32(word & -word);
}
