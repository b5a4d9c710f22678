// An open primary: a block device or a regular file, read and written at any page by any room.
//
// Invariants:
// - Direct I/O unless the operator chose buffered: what a flush must make durable is then only what
//   the drive itself caches, and the page cache never holds a second copy of the device, older or (after a
//   flush that failed) one that the drive never got. Buffered, whoever claims it starts without that copy.
// - Every buffer given to the kernel is page aligned and stays reachable until its call is done.
// - With `exclusive`, the claim lasts until close(): a lock on the file (flock), which every process
//   of ours takes, and on block devices also O_EXCL, which makes the kernel refuse mounts, swap, RAID
//   and mappings meanwhile.
//
// Calls run on other threads, so an event loop goes on meanwhile. The queues do their I/O through
// their rings, not through this class. Callers: metadata, format, inspect, initial sync, start-up.

import { check, EAGAIN, EBUSY, EINVAL, EIO, errno, errnoError } from "../../ffi/errno.ts";
import {
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_DIRECT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  openLibc,
  POSIX_FADV_DONTNEED,
} from "../../ffi/libc.ts";
import { cString, SharedArea } from "../../ffi/memory.ts";
import { invariant } from "../base/assert.ts";
import { dataError, ReplicaError, usageError } from "../base/errors.ts";
import { systemClock } from "../base/clock.ts";
import type { Disk } from "./disk.ts";
import { type DiskGeometry, readGeometry } from "./geometry.ts";

/** udev holds a lock of its own while it looks at a device: a claim waits for that a moment. */
const LOCK_TRIES = 20;
const LOCK_RETRY_MS = 50;

export interface OpenOptions {
  readonly access: "read" | "write";
  /** Through the page cache, for file systems that refuse direct I/O, or `fallback`: only there. */
  readonly buffered?: boolean | "fallback";
  /** Fail when anybody else uses it, and keep others out. Needs `write`. */
  readonly exclusive?: boolean;
}

export class BlockDevice implements Disk {
  readonly name: string;
  readonly geometry: DiskGeometry;
  readonly buffered: boolean;
  #fd: number;

  private constructor(name: string, fd: number, geometry: DiskGeometry, buffered: boolean) {
    this.name = name;
    this.#fd = fd;
    this.geometry = geometry;
    this.buffered = buffered;
  }

  /** Usage errors: no such file, neither device nor file, in use, direct I/O refused. */
  static async open(path: string, options: OpenOptions): Promise<BlockDevice> {
    const info = await statPrimary(path);
    const { fd, buffered } = openDescriptor(path, info, options);
    try {
      if (options.exclusive) await lock(fd, path);
      if (options.exclusive && buffered) await forgetCached(fd, path);
      const geometry = readGeometry(fd, info, path);
      return new BlockDevice(path, fd, geometry, buffered);
    } catch (error) {
      openLibc().close(fd);
      throw error;
    }
  }

  /** The descriptor, for calls that this class does not have. */
  get fd(): number {
    invariant(this.#fd >= 0, "a closed device is not used");
    return this.#fd;
  }

  get sizeBytes(): number {
    return this.geometry.sizeBytes;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const area = SharedArea.allocate(lengthBytes);
    try {
      await this.readInto(offsetBytes, area.bytes);
      return area.bytes.slice();
    } finally {
      area.release();
    }
  }

  /** Fills `into`, which lies in page-aligned memory that stays reachable (ffi/memory.ts). */
  async readInto(offsetBytes: number, into: Uint8Array): Promise<void> {
    const { preadAsync, pread } = openLibc();
    await this.#transfer("read", into, offsetBytes, preadAsync, pread);
  }

  /**
   * The same for a thread that must not stand still while a drive takes seconds to say that it can't read a
   * sector: why it can't is in the kernel's log only.
   */
  async readIntoOrGiveUp(offsetBytes: number, into: Uint8Array): Promise<void> {
    await this.#transfer("read", into, offsetBytes, openLibc().preadAsync, null);
  }

  /** Writes `bytes`, which lie in page-aligned memory that stays reachable (ffi/memory.ts). */
  async writeFrom(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const { pwriteAsync, pwrite } = openLibc();
    await this.#transfer("write", bytes, offsetBytes, pwriteAsync, pwrite);
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const area = SharedArea.allocate(bytes.length);
    try {
      area.bytes.set(bytes);
      await this.writeFrom(offsetBytes, area.bytes);
    } finally {
      area.release();
    }
  }

  async flush(): Promise<void> {
    const { fdatasyncAsync } = openLibc();
    // errno of another thread is lost and a failed sync is not repeated: the second one may report
    // success for pages that the first one dropped.
    if (await fdatasyncAsync(this.fd) !== 0) {
      throw errnoError(EIO, `flush ${this.name}`);
    }
  }

  close(): void {
    if (this.#fd >= 0) openLibc().close(this.#fd);
    this.#fd = -1;
  }

  async #transfer(
    verb: "read" | "write",
    view: Uint8Array,
    offsetBytes: number,
    callAsync: (fd: number, view: Buffer, length: bigint, at: bigint) => Promise<bigint>,
    call: ((fd: number, view: Buffer, length: bigint, at: bigint) => bigint) | null,
  ): Promise<void> {
    const fd = this.fd;
    let done = 0;
    while (done < view.length) {
      const rest = view.subarray(done) as Buffer;
      const at = BigInt(offsetBytes + done);
      let moved = await callAsync(fd, rest, BigInt(rest.length), at);
      const context = { offsetBytes: offsetBytes + done, lengthBytes: rest.length };
      // The failed call's errno stayed on its thread: the same call here tells, or succeeds.
      if (moved < 0n && call !== null) moved = call(fd, rest, BigInt(rest.length), at);
      else if (moved < 0n) {
        throw new ReplicaError("kernel", `Cannot ${verb} ${this.name}: the kernel refused`, {
          context,
          hint: "The kernel's log says why.",
        });
      }
      const count = check(moved, `${verb} ${this.name}`, context);
      if (count === 0) {
        throw dataError(`Cannot ${verb} ${this.name}: it ends at ${at}`, { context });
      }
      done += count;
    }
  }
}

/** What the FFI takes for a buffer; views of shared memory are accepted too. */
type Buffer = Uint8Array<ArrayBuffer>;

/** stat(2) of a primary, which must be a block device or a regular file. */
export async function statPrimary(path: string): Promise<Deno.FileInfo> {
  try {
    const info = await Deno.stat(path);
    if (!info.isBlockDevice && !info.isFile) {
      throw usageError(`Cannot use ${path}: neither a block device nor a regular file`);
    }
    return info;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw usageError(`Cannot use ${path}: no such file or device`, { cause });
    }
    if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
      throw usageError(`Cannot use ${path}: permission denied`, { cause });
    }
    throw cause;
  }
}

function openDescriptor(path: string, info: Deno.FileInfo, options: OpenOptions) {
  const claim = options.exclusive && info.isBlockDevice ? O_EXCL : 0;
  const flags = (options.access === "write" ? O_RDWR : O_RDONLY) | O_CLOEXEC | claim;
  const buffered = options.buffered === true;
  const fd = openLibc().open(cString(path), flags | (buffered ? 0 : O_DIRECT), 0);
  if (fd >= 0) return { fd, buffered };
  const number = errno();
  if (number === EINVAL && options.buffered === "fallback") {
    return { fd: check(openLibc().open(cString(path), flags, 0), `open ${path}`), buffered: true };
  }
  throw openError(number, path, buffered);
}

function openError(number: number, path: string, buffered: boolean): ReplicaError {
  if (number === EBUSY) return inUse(path, "a file system, swap, RAID, mapping or daemon holds it");
  if (number === EINVAL && !buffered) {
    return usageError(`Cannot use ${path}: its file system refuses direct I/O`, {
      hint: "Use --buffered-io, or put the file on another file system.",
    });
  }
  return errnoError(number, `open ${path}`, { path });
}

async function lock(fd: number, path: string): Promise<void> {
  for (let tries = 1;; tries++) {
    if (openLibc().flock(fd, LOCK_EX | LOCK_NB) === 0) return;
    const number = errno();
    if (number !== EAGAIN) throw errnoError(number, `lock ${path}`, { path });
    if (tries === LOCK_TRIES) throw inUse(path, "another process has locked it");
    await systemClock.sleep(LOCK_RETRY_MS);
  }
}

/** Reads come from the drive again, but for what is still to be written: the next flush tells of that. */
async function forgetCached(fd: number, path: string): Promise<void> {
  const number = await openLibc().posixFadviseAsync(fd, 0n, 0n, POSIX_FADV_DONTNEED);
  if (number !== 0) throw errnoError(number, `drop the cache of ${path}`, { path });
}

function inUse(path: string, by: string): ReplicaError {
  return usageError(`Cannot use ${path}: it is in use: ${by}`, {
    hint: "Stop or unmount what uses it. --force does not help here, on purpose.",
    context: { path },
  });
}
