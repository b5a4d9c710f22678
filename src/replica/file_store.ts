// A replica root in a local directory, with the semantics of a conditional object store: the
// embedded default. One file per object, byte for byte what S3 would hold.
//
// Invariants:
// - A file under an object's name is always whole and durable before its name is: the bytes go to a
//   temporary file, fsync, then link(2) or rename(2), then fsync of the directory.
// - Whatever compares before it acts (puts over an etag, plain puts, deletes) runs under the lock of
//   the directory; "only if absent" is link(2), which needs none.
// - An etag is the file's size and modification time, and the times are stamps that no put of this
//   directory ever used before: it changes with every put, also when the content does not.
// - Temporary files are flocked by their writer while it lives; those that can be locked are the
//   left-overs of crashes, and go when the store is next opened for writing.
// - The root is the directory that was opened: when something else is mounted over it, or it is
//   unmounted, calls fail instead of finding "no such object".
//
// Callers: open.ts.

import { type Clock, systemClock } from "../base/clock.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { codeOf, fileError } from "./file_error.ts";
import { FileLock } from "./file_lock.ts";
import { checkTimes, removeLeftovers, TempFile } from "./file_temp.ts";
import { checkKey, compareKeys, PRIVATE_DIRECTORY } from "./object_key.ts";
import type {
  ByteRange,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutCondition,
  PutResult,
  RequestOptions,
  StorePutOptions,
} from "./object_store.ts";
import { closedError, storeUnavailable } from "./store_error.ts";
import { parentOf, syncDirectory, unlessMissing } from "../base/files.ts";

const LOCK_TIMEOUT_MS = 30_000;
const READ_BYTES_MAX = 8 * 1024 * 1024;
const LIST_BATCH = 64;

export interface FileStoreOptions {
  /** Absolute path of the replica root. */
  readonly path: string;
  /** `create` makes the directory; `write` and `read` want it to exist. */
  readonly access: "read" | "write" | "create";
  readonly clock?: Clock;
  readonly lockTimeoutMs?: number;
}

export class FileStore implements ObjectStore {
  readonly uri: string;
  readonly #path: string;
  readonly #lock: FileLock | null;
  readonly #identity: string;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  /** Keys whose names may not be durable. */
  readonly #unsettled = new Set<string>();

  private constructor(
    parts: { path: string; lock: FileLock | null; identity: string; clock: Clock },
  ) {
    this.#path = parts.path;
    this.#lock = parts.lock;
    this.#identity = parts.identity;
    this.#clock = parts.clock;
    this.uri = fileUri(parts.path);
  }

  /** Opens a directory; for writing it also removes what crashed writers left. */
  static async open(options: FileStoreOptions): Promise<FileStore> {
    const { access, clock = systemClock, lockTimeoutMs = LOCK_TIMEOUT_MS } = options;
    const path = options.path.replace(/(?<=.)\/+$/, "");
    try {
      if (access === "create") await createDirectory(path);
      const info = await rootInfo(path);
      const identity = identityOf(info);
      if (access === "read") return new FileStore({ path, lock: null, identity, clock });
      const own = `${path}/${PRIVATE_DIRECTORY}`;
      await Deno.mkdir(own, { recursive: true });
      const lock = await FileLock.open({ path: `${own}/lock`, clock, timeoutMs: lockTimeoutMs });
      await lock.run(undefined, async () => {
        await checkTimes(own);
        await removeLeftovers(own);
      });
      return new FileStore({ path, lock, identity, clock });
    } catch (error) {
      throw fileError(error, { verb: "open", object: fileUri(path), effect: "none" });
    }
  }

  async head(key: string, options: RequestOptions = {}): Promise<ObjectHead | null> {
    const info = await this.#call("look up", key, options.signal, () => this.#stat(key));
    return info && { ...objectInfo(key, info), nowMs: this.#clock.wallMs() };
  }

  get(
    key: string,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<ObjectBody | null> {
    return this.#call("read", key, options.signal, async () => {
      const file = await unlessMissing(Deno.open(this.#file(key), { read: true }));
      if (file === null) return null;
      try {
        const info = await file.stat();
        if (!info.isFile) return null;
        const bytes = await this.#read(file, info.size, options);
        return { bytes, etag: etagOf(info), size: info.size };
      } finally {
        file.close();
      }
    });
  }

  async #read(
    file: Deno.FsFile,
    size: number,
    options: RequestOptions & { range?: ByteRange },
  ): Promise<Uint8Array> {
    const { offset, length } = options.range ?? { offset: 0, length: size };
    const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
    if (offset > 0 && bytes.length > 0) await file.seek(offset, Deno.SeekMode.Start);
    let filled = 0;
    while (filled < bytes.length) {
      this.#checkOpen(options.signal);
      const read = await file.read(bytes.subarray(filled, filled + READ_BYTES_MAX));
      if (read === null) {
        throw storeUnavailable(`Cannot read ${this.uri}: a file became shorter`, {
          code: "Truncated",
          effect: "none",
        });
      }
      filled += read;
    }
    return bytes;
  }

  put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const { condition, signal } = options;
    return this.#call("write", key, signal, async () => {
      const lock = this.#writable();
      if (!await this.#holds(key, condition)) return { stored: false };
      const both = this.#both(signal);
      const temp = await lock.run(both, async () => {
        return await TempFile.create(this.#private(), await lock.takeStamp());
      });
      try {
        await temp.fill(chunks, both);
        return await this.#publish(key, temp, condition, both);
      } finally {
        await temp.close();
      }
    });
  }

  /** Gives the temporary file its object's name if the condition holds. */
  async #publish(
    key: string,
    temp: TempFile,
    condition: PutCondition | undefined,
    signal: AbortSignal,
  ): Promise<PutResult> {
    const target = this.#file(key);
    const etag = etagFrom(temp.stampMs, temp.size);
    if (key.includes("/")) await Deno.mkdir(parentOf(target), { recursive: true });
    if (condition !== undefined && "absent" in condition) {
      try {
        await Deno.link(temp.path, target);
      } catch (error) {
        if (codeOf(error) === "EEXIST") return { stored: false };
        throw noLinks(error, this.uri);
      }
    } else {
      const renamed = await this.#writable().run(signal, async () => {
        if (!await this.#holds(key, condition)) return false;
        await Deno.rename(temp.path, target);
        return true;
      });
      if (!renamed) return { stored: false };
    }
    await this.#settle(key, "write");
    return { stored: true, etag };
  }

  async #holds(key: string, condition: PutCondition | undefined): Promise<boolean> {
    if (condition === undefined) return true;
    const info = await this.#stat(key);
    if ("absent" in condition) return info === null;
    return info !== null && etagOf(info) === condition.etag;
  }

  async *list(
    options: RequestOptions & { startAfter?: string } = {},
  ): AsyncGenerator<ObjectInfo, void, undefined> {
    const { signal, startAfter } = options;
    const keys = await this.#call("list", null, signal, () => this.#keys("", []));
    const wanted = keys.sort(compareKeys).filter((key) =>
      startAfter === undefined || compareKeys(key, startAfter) > 0
    );
    for (let at = 0; at < wanted.length; at += LIST_BATCH) {
      const batch = wanted.slice(at, at + LIST_BATCH);
      const infos = await this.#call("list", null, signal, () => {
        return Promise.all(batch.map((key) => this.#stat(key)));
      });
      for (const [i, info] of infos.entries()) {
        if (info !== null) yield objectInfo(batch[i], info);
      }
    }
  }

  async #keys(folder: string, found: string[]): Promise<string[]> {
    const path = folder === "" ? this.#path : `${this.#path}/${folder}`;
    for await (const entry of Deno.readDir(path)) {
      const key = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (key === PRIVATE_DIRECTORY) continue;
      if (entry.isFile) found.push(key);
      if (entry.isDirectory) await this.#keys(key, found);
    }
    return found;
  }

  delete(key: string, options: RequestOptions = {}): Promise<void> {
    return this.#call("delete", key, options.signal, async () => {
      const removed = await this.#writable().run(
        this.#both(options.signal),
        () => unlessMissing(Deno.remove(this.#file(key)).then(() => true)),
      );
      if (removed !== null) await this.#settle(key, "delete");
    });
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    await this.#lock?.close();
  }

  /** Makes names durable; from here on a failure leaves the outcome unknown. */
  async #settle(key: string, verb: string): Promise<void> {
    let folder = parentOf(this.#file(key));
    try {
      while (true) {
        await syncDirectory(folder);
        if (folder === this.#path) return;
        folder = parentOf(folder);
      }
    } catch (error) {
      this.#unsettled.add(key);
      throw fileError(error, { verb, object: `${this.uri}/${key}`, effect: "unknown" });
    }
  }

  /**
   * What a call reads must be what a power cut leaves: names that could not be made durable are tried again
   * before it, or a lost answer would be taken for a commit.
   */
  async #settleRest(): Promise<void> {
    for (const key of this.#unsettled) {
      await this.#settle(key, "write");
      this.#unsettled.delete(key);
    }
  }

  /** Checks what every call checks, and turns what the system says into ReplicaErrors. */
  async #call<T>(
    verb: string,
    key: string | null,
    signal: AbortSignal | undefined,
    body: () => Promise<T>,
  ): Promise<T> {
    if (key !== null) checkKey(key);
    this.#checkOpen(signal);
    try {
      const info = await Deno.stat(this.#path);
      if (identityOf(info) !== this.#identity) throw replaced(this.uri);
      if (this.#unsettled.size > 0) await this.#settleRest();
      return await body();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) throw replaced(this.uri, error);
      const object = key === null ? this.uri : `${this.uri}/${key}`;
      throw fileError(error, { verb, object, effect: "none" });
    }
  }

  #checkOpen(signal: AbortSignal | undefined): void {
    if (this.#closing.signal.aborted) throw closedError(`Cannot use ${this.uri}: it is closed`);
    if (signal?.aborted) throw closedError(`Cannot use ${this.uri}: aborted`, signal.reason);
  }

  #both(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
  }

  #writable(): FileLock {
    if (this.#lock !== null) return this.#lock;
    throw usageError(`Cannot write to ${this.uri}: it was opened for reading`);
  }

  #private(): string {
    return `${this.#path}/${PRIVATE_DIRECTORY}`;
  }

  #file(key: string): string {
    return `${this.#path}/${key}`;
  }

  async #stat(key: string): Promise<Deno.FileInfo | null> {
    const info = await unlessMissing(Deno.stat(this.#file(key)));
    return info?.isFile ? info : null;
  }
}

async function createDirectory(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  await syncDirectory(parentOf(path));
}

async function rootInfo(path: string): Promise<Deno.FileInfo> {
  const info = await unlessMissing(Deno.stat(path));
  if (info?.isDirectory) return info;
  const reason = info === null ? "there is no such directory" : "it is not a directory";
  throw usageError(`Cannot open ${fileUri(path)}: ${reason}`, {
    hint: "Check the path, and that the file system that holds the replica is mounted.",
  });
}

function replaced(uri: string, cause?: unknown): ReplicaError {
  return storeUnavailable(`Cannot use ${uri}: its directory was removed, replaced or unmounted`, {
    code: "Replaced",
    effect: "none",
    operator: true,
    hint: "Mount the file system that holds the replica again, then restart.",
    cause,
  });
}

function noLinks(error: unknown, uri: string): unknown {
  if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(codeOf(error))) return error;
  return usageError(`Cannot keep a replica in ${uri}: the file system has no hard links`, {
    hint: "Put the replica on a POSIX file system such as ext4, xfs, btrfs or NFS.",
    cause: error,
  });
}

function objectInfo(key: string, info: Deno.FileInfo): ObjectInfo {
  return { key, size: info.size, etag: etagOf(info), modifiedMs: info.mtime?.getTime() ?? 0 };
}

function etagOf(info: Deno.FileInfo): string {
  return etagFrom(info.mtime?.getTime() ?? 0, info.size);
}

function etagFrom(stampMs: number, size: number): string {
  return `"${stampMs.toString(16)}-${size.toString(16)}"`;
}

function identityOf(info: Deno.FileInfo): string {
  return `${info.dev}:${info.ino}`;
}

/** The URI of an absolute path, unencoded as the operator writes it. */
export function fileUri(path: string): string {
  return `file://${path}`;
}
