// CRC-32 as zlib, Ethernet and S3 have it (IEEE 802.3, reflected polynomial 0xEDB88320): the checksum of
// metadata pages.
//
// Not node:zlib's: loading it makes every thread set up node's streams and processes, which is most
// of what starting a queue's thread takes. Pages are 4 KiB and rare; S3 bodies, which are neither, are
// summed by node:zlib.
//
// Four bytes a step ("slicing by 4"): table k holds what a byte does to the sum k bytes later.

const POLYNOMIAL = 0xedb88320;

const TABLES = Array.from({ length: 4 }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = (sum & 1) !== 0 ? (sum >>> 1) ^ POLYNOMIAL : sum >>> 1;
  TABLES[0][byte] = sum;
}
for (let byte = 0; byte < 256; byte++) {
  for (let k = 1; k < 4; k++) {
    const before = TABLES[k - 1][byte];
    TABLES[k][byte] = (before >>> 8) ^ TABLES[0][before & 0xff];
  }
}

/** The CRC-32 of `bytes`, unsigned; `sum`: that of what stands before them. */
export function crc32(bytes: Uint8Array, sum = 0): number {
  const [one, two, three, four] = TABLES;
  let crc = ~sum;
  let at = 0;
  for (const end = bytes.length - (bytes.length % 4); at < end; at += 4) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc = four[crc & 0xff] ^ three[(crc >>> 8) & 0xff] ^ two[(crc >>> 16) & 0xff] ^ one[crc >>> 24];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ one[(crc ^ bytes[at]) & 0xff];
  return ~crc >>> 0;
}
