// Sizes: parsing, formatting and alignment. Binary units only: K, KB and KiB all mean 1024.

import { usageError } from "./errors.ts";

export const SECTOR = 512;
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const MULTIPLIERS: Readonly<Record<string, number>> = { "": 1, k: KiB, m: MiB, g: GiB, t: TiB };

/**
 * Parses "8MiB", "1G", "4096", "1.5GiB" into bytes. `name` is the option it belongs to.
 * Throws a usage error on anything else, on a fraction of a byte and beyond 2^53.
 */
export function parseSize(text: string, name: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|b)?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * MULTIPLIERS[(match[2] ?? "").toLowerCase()] : NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw usageError(`Cannot read ${name}: "${text}" is not a size`, {
      hint: "Write a whole number of bytes with B, KiB, MiB, GiB or TiB, for example 8MiB.",
    });
  }
  return bytes;
}

const UNITS: readonly (readonly [string, number])[] = [
  ["TiB", TiB],
  ["GiB", GiB],
  ["MiB", MiB],
  ["KiB", KiB],
];

/** Formats bytes with the greatest unit that fits, at most two decimals: "1.5GiB", "0B". */
export function formatSize(bytes: number): string {
  for (const [unit, size] of UNITS) {
    if (bytes >= size) return `${Number((bytes / size).toFixed(2))}${unit}`;
  }
  return `${bytes}B`;
}

/** "1.5GiB (1610612736 bytes)" */
export function exactSize(bytes: number): string {
  return bytes < KiB ? `${bytes} bytes` : `${formatSize(bytes)} (${bytes} bytes)`;
}

/** Greatest multiple of `alignment` (any positive integer) that is not above `value`. */
export function alignDown(value: number, alignment: number): number {
  return value - (value % alignment);
}

/** Least multiple of `alignment` (any positive integer) that is not below `value`. */
export function alignUp(value: number, alignment: number): number {
  return alignDown(value + alignment - 1, alignment);
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
