// Memory that the kernel sees. Sole user of UnsafePointer and UnsafePointerView.
//
// Invariants:
// - every area made here stays reachable until release(): the kernel may still write into memory
//   that the garbage collector would otherwise take (seen: heap corruption);
// - areas are backed by a SharedArrayBuffer, which has one address in all threads and never moves.
//   Its base is only 16-byte aligned, so areas are over-allocated and start at the next page;
// - views of foreign memory (mmap) are for small regions only: V8 counts their whole size.

import { MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE, openLibc } from "./libc.ts";
import { invariant } from "../src/base/assert.ts";
import { usageError } from "../src/base/errors.ts";

/** Size that O_DIRECT buffers and mmap offsets are aligned to. */
export const MEMORY_PAGE_BYTES = 4096;

const reachable = new Set<object>();

/** What one thread posts to another so that both see the same area. */
export interface SharedAreaHandle {
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** A page-aligned piece of shared memory with a fixed address. */
export class SharedArea {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly address: bigint;

  private constructor(bytes: Uint8Array<SharedArrayBuffer>, address: bigint) {
    this.bytes = bytes;
    this.address = address;
    reachable.add(this);
  }

  /** Allocates zeroed memory; pages are taken from the system when first touched. */
  static allocate(sizeBytes: number): SharedArea {
    invariant(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, `${sizeBytes} is an area's size`);
    const buffer = new SharedArrayBuffer(sizeBytes + MEMORY_PAGE_BYTES);
    const base = addressOf(new Uint8Array(buffer));
    const skip = Number(-base & BigInt(MEMORY_PAGE_BYTES - 1));
    const area = new SharedArea(new Uint8Array(buffer, skip, sizeBytes), base + BigInt(skip));
    if (sizeBytes % MEMORY_PAGE_BYTES === 0) keepSmallPages(area.bytes);
    return area;
  }

  /** The same area in another thread. */
  static attach(handle: SharedAreaHandle): SharedArea {
    const bytes = new Uint8Array(handle.buffer, handle.byteOffset, handle.byteLength);
    return new SharedArea(bytes, addressOf(bytes));
  }

  handle(): SharedAreaHandle {
    const { buffer, byteOffset, byteLength } = this.bytes;
    return { buffer, byteOffset, byteLength };
  }

  /** Lets the memory go. Only when the kernel and every ring have let go of it. */
  release(): void {
    reachable.delete(this);
  }
}

/** How many areas are held; tests look for leaks with it. */
export function reachableCount(): number {
  return reachable.size;
}

/** Address of a view's first byte. The view's buffer must stay reachable while it is used. */
export function addressOf(view: ArrayBufferView<ArrayBufferLike>): bigint {
  // An ArrayBufferView over shared memory is accepted too; only the declaration is narrower.
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(view as Uint8Array<ArrayBuffer>));
}

/** The pointer object for an address, or null for 0. */
export function pointerAt(address: bigint): Deno.PointerValue {
  return Deno.UnsafePointer.create(address);
}

function memoryAt(place: bigint | Deno.PointerValue, sizeBytes: number): ArrayBuffer {
  const pointer = typeof place === "bigint" ? pointerAt(place) : place;
  invariant(pointer !== null, "only mapped memory is viewed");
  return Deno.UnsafePointerView.getArrayBuffer(pointer, sizeBytes);
}

/** A view of `sizeBytes` of foreign memory. It must not be used after the memory is unmapped. */
export function bytesAt(place: bigint | Deno.PointerValue, sizeBytes: number): Uint8Array {
  return new Uint8Array(memoryAt(place, sizeBytes));
}

/** A view of `count` 32-bit words of foreign memory. */
export function int32At(place: bigint | Deno.PointerValue, count: number): Int32Array {
  return new Int32Array(memoryAt(place, count * 4));
}

/** Low 32 bits of an address or offset, as an Int32Array stores them. */
export function low32(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

/** High 32 bits of an address or offset, as an Int32Array stores them. */
export function high32(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}

/**
 * Keeps a page-aligned range of memory on small pages. Memory that is touched here and there, such as
 * the buffers of tags, would otherwise take 2 MiB for every first touch. Advice: nothing depends on it.
 */
export function keepSmallPages(bytes: Uint8Array<ArrayBufferLike>): void {
  openLibc().madvise(addressOf(bytes), BigInt(bytes.byteLength), MADV_NOHUGEPAGE);
}

/**
 * Takes a page-aligned range of memory from the system now, in huge pages where it has them, so that
 * nobody waits for page faults later. False where the system did not: the range is then as before.
 */
export async function populate(bytes: Uint8Array<ArrayBufferLike>): Promise<boolean> {
  const libc = openLibc();
  const address = addressOf(bytes);
  const length = BigInt(bytes.byteLength);
  libc.madvise(address, length, MADV_HUGEPAGE);
  return await libc.madviseAsync(address, length, MADV_POPULATE_WRITE) === 0;
}

const encoder = new TextEncoder();

/** A NUL-terminated path for a call that takes `const char *`. */
export function cString(path: string): Uint8Array<ArrayBuffer> {
  if (path.includes("\0")) throw usageError("Cannot use a path that contains a NUL character");
  return encoder.encode(`${path}\0`);
}
