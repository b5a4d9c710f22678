// CRC-32 as zlib, Ethernet and S3 have it (IEEE 802.3, reflected polynomial 0xEDB88320): the checksum of
// metadata pages.
//
// Not node:zlib's: loading it makes every thread set up node's streams and processes, which is most
// of what starting a queue's thread takes. Pages are 4 KiB and rare; S3 bodies, which are neither, are
// summed by node:zlib.
//
// Four bytes a step ("slicing by 4"). Nothing is allocated: the queues sum pages on their I/O path.

/** TABLE[n * 256 + b]: what byte b followed by n zero bytes does to the sum. */
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

/** The CRC-32 of `bytes`, unsigned; `sum`: that of what stands before them. */
export function crc32(bytes: Uint8Array, sum = 0): number {
  let crc = ~sum;
  let at = 0;
  for (const end = bytes.length - (bytes.length % 4); at < end; at += 4) {
    const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc = addWord(crc, word);
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]) & 0xff];
  return ~crc >>> 0;
}

/**
 * The CRC-32 of the bytes of words[from] to words[to - 1] on a little-endian machine, as a signed number:
 * an unsigned one would not always fit V8's small integers.
 */
export function crc32OfWords(words: Int32Array, from: number, to: number): number {
  let crc = -1;
  for (let at = from; at < to; at++) crc = addWord(crc, words[at]);
  return ~crc;
}

/** The register after four more bytes, the first of them in the word's low bits. */
function addWord(before: number, word: number): number {
  const crc = before ^ word;
  return TABLE[768 + (crc & 0xff)] ^ TABLE[512 + (crc >>> 8 & 0xff)] ^
    TABLE[256 + (crc >>> 16 & 0xff)] ^ TABLE[crc >>> 24];
}
