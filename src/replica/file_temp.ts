// Temporary files of the file store: where an object's bytes become durable before its name exists.
//
// Invariant: a live writer holds flock(2) on its temporary file from its creation on (both happen
// under the directory's lock), so one that can be locked has lost its writer.
//
// Caller: file_store.ts.

import { usageError } from "../base/errors.ts";
import { mergeNeighbours } from "./gather.ts";
import { closedError } from "./store_error.ts";
import { unlessMissing } from "../base/files.ts";

const SUFFIX = ".tmp";
const STAGING_BYTES = 1024 * 1024;
/** Chunks of at least this size are written as they are, smaller ones are gathered first. */
const DIRECT_BYTES_MIN = 256 * 1024;
const WRITE_BYTES_MAX = 8 * 1024 * 1024;

export class TempFile {
  readonly path: string;
  /** The modification time that the file gets. */
  readonly stampMs: number;
  readonly #file: Deno.FsFile;
  #size = 0;

  private constructor(path: string, stampMs: number, file: Deno.FsFile) {
    this.path = path;
    this.stampMs = stampMs;
    this.#file = file;
  }

  /** Only under the directory's lock. */
  static async create(folder: string, stampMs: number): Promise<TempFile> {
    const path = `${folder}/${crypto.randomUUID()}${SUFFIX}`;
    const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await file.tryLock(true);
    return new TempFile(path, stampMs, file);
  }

  /** Bytes written. */
  get size(): number {
    return this.#size;
  }

  /** Writes the chunks and the stamp, and makes both durable. */
  async fill(chunks: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    let staging: Uint8Array | null = null;
    let staged = 0;
    for (const chunk of mergeNeighbours(chunks)) {
      if (chunk.length >= DIRECT_BYTES_MIN) {
        if (staging !== null) await this.#write(staging.subarray(0, staged), signal);
        staged = 0;
        await this.#write(chunk, signal);
        continue;
      }
      staging ??= new Uint8Array(STAGING_BYTES);
      if (staged + chunk.length > STAGING_BYTES) {
        await this.#write(staging.subarray(0, staged), signal);
        staged = 0;
      }
      staging.set(chunk, staged);
      staged += chunk.length;
    }
    if (staging !== null) await this.#write(staging.subarray(0, staged), signal);
    const stamp = new Date(this.stampMs);
    await this.#file.utime(stamp, stamp);
    await this.#file.sync();
  }

  async #write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      if (signal.aborted) throw closedError(`Cannot write ${this.path}: aborted`, signal.reason);
      written += await this.#file.write(bytes.subarray(written, written + WRITE_BYTES_MAX));
    }
    this.#size += bytes.length;
  }

  /**
   * Removes the temporary name, unless the file was renamed away. Never fails: the object may stand
   * by now, and what can't be removed goes with the left-overs when the store is next opened.
   */
  async close(): Promise<void> {
    this.#file.close();
    await Promise.allSettled([Deno.remove(this.path)]);
  }
}

/** Removes the temporary files that no living writer holds. Only under the directory's lock. */
export async function removeLeftovers(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    if (!entry.isFile || !entry.name.endsWith(SUFFIX)) continue;
    const path = `${folder}/${entry.name}`;
    // NFS wants a descriptor that may write for a lock that excludes others.
    const file = await unlessMissing(Deno.open(path, { read: true, write: true }));
    if (file === null) continue; // its writer is done with it just now
    try {
      if (await file.tryLock(true)) await unlessMissing(Deno.remove(path));
    } finally {
      file.close();
    }
  }
}

/** Throws unless files keep modification times to the millisecond: etags rest on them. */
export async function checkTimes(folder: string): Promise<void> {
  const path = `${folder}/${crypto.randomUUID()}${SUFFIX}`;
  const wanted = new Date(1_700_000_000_123);
  try {
    await Deno.writeFile(path, new Uint8Array(), { createNew: true });
    await Deno.utime(path, wanted, wanted);
    const info = await Deno.stat(path);
    if (info.mtime?.getTime() === wanted.getTime()) return;
  } finally {
    await unlessMissing(Deno.remove(path));
  }
  throw usageError(`Cannot keep a replica in ${folder}: the file system keeps no exact times`, {
    hint: "Put the replica on a POSIX file system such as ext4, xfs, btrfs or NFS.",
  });
}
