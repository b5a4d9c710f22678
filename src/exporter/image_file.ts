// A sparse image file as the target of an export.
//
// Invariants:
// - The bytes go to NAME.partial beside the image; the image has its name only when it is whole and
//   durable. What stood there before stays until then.
// - NAME.partial is locked while it is written, so two exports never share one; it is removed when
//   the export ends without success.

import { check, EEXIST, ENOENT, ENOTDIR, errno, errnoError } from "../../ffi/errno.ts";
import { O_CLOEXEC, O_CREAT, O_EXCL, O_WRONLY, openLibc } from "../../ffi/libc.ts";
import { cString } from "../../ffi/memory.ts";
import { usageError } from "../base/errors.ts";
import { parentOf, syncDirectory, unlessMissingSync } from "../base/files.ts";
import { BlockDevice } from "../primary/block_device.ts";
import type { ExportTarget } from "./target.ts";

/** Added to the image's name while it is written. */
export const PARTIAL_SUFFIX = ".partial";

export class ImageFile implements ExportTarget {
  readonly path: string;
  readonly kind = "file";
  readonly gapBytesMax = 0;
  readonly unitBytes = 1;
  readonly zero = null;
  readonly #disk: BlockDevice;
  readonly #guard: BlockDevice | null;
  #named = false;

  private constructor(path: string, disk: BlockDevice, guard: BlockDevice | null) {
    this.path = path;
    this.#disk = disk;
    this.#guard = guard;
  }

  /**
   * Creates NAME.partial for the image that `path` will name. `force` takes over one that an export
   * which was killed has left. `guard` holds the file that is to be replaced, until close().
   */
  static async create(
    path: string,
    options: { sizeBytes: number; force: boolean; guard: BlockDevice | null },
  ): Promise<ImageFile> {
    const partialPath = path + PARTIAL_SUFFIX;
    createEmpty(partialPath, options.force);
    // Through the page cache: the end of a foreign replica need not be aligned.
    const how = { access: "write", buffered: true, exclusive: true } as const;
    const disk = await BlockDevice.open(partialPath, how);
    try {
      checkStillNamed(disk);
    } catch (error) {
      disk.close(); // with what another export made of it
      throw error;
    }
    try {
      for (const size of [0, options.sizeBytes]) {
        const call = `give ${partialPath} its size of ${size} bytes`;
        check(openLibc().ftruncate(disk.fd, BigInt(size)), call);
      }
      return new ImageFile(path, disk, options.guard);
    } catch (error) {
      await Promise.allSettled([Deno.remove(partialPath)]);
      disk.close();
      throw error;
    }
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    await this.#disk.writeFrom(offsetBytes, bytes);
  }

  async finish(): Promise<void> {
    await this.#disk.flush();
    if (this.#guard === null) await this.#nameNew();
    else await Deno.rename(this.#disk.name, this.path);
    this.#named = true;
    await syncDirectory(parentOf(this.path));
  }

  /** Nothing was there when the export began: what came since is somebody's. */
  async #nameNew(): Promise<void> {
    const { name } = this.#disk;
    try {
      await Deno.link(name, this.path);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) {
        // A file system without hard links.
        await Deno.rename(name, this.path);
        return;
      }
      this.#named = true; // and stays
      throw usageError(`Cannot name the image ${this.path}: a file of that name has appeared`, {
        hint: `The image is whole and durable as ${name}: move it to where you want it.`,
      });
    }
    await Deno.remove(name);
  }

  async close(): Promise<void> {
    // Removed before the lock goes, so that it cannot be another export's by then.
    if (!this.#named) await Promise.allSettled([Deno.remove(this.#disk.name)]);
    this.#disk.close();
    this.#guard?.close();
  }
}

/** Throws when the file got its final name from another export while this one waited for its lock. */
function checkStillNamed(disk: BlockDevice): void {
  const held = Deno.statSync(`/proc/self/fd/${disk.fd}`);
  const named = unlessMissingSync(() => Deno.lstatSync(disk.name));
  if (named !== null && named.ino === held.ino && named.dev === held.dev) return;
  throw usageError(`Cannot write ${disk.name}: another export has finished it just now`, {
    hint: "Look at the image that it left before you replace it.",
  });
}

/** Makes sure that there is a file of ours to write, without opening another's. */
function createEmpty(path: string, force: boolean): void {
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  const fd = openLibc().open(cString(path), flags, 0o600);
  if (fd >= 0) {
    openLibc().close(fd);
    return;
  }
  const number = errno();
  if (number === ENOENT || number === ENOTDIR) {
    throw usageError(`Cannot write ${path}: there is no such directory`);
  }
  if (number !== EEXIST) throw errnoError(number, `create ${path}`);
  if (!force) {
    throw usageError(`Cannot write ${path}: there is such a file`, {
      hint: "An export is writing it, or was killed; --force takes it over if nobody does.",
    });
  }
  if (!Deno.lstatSync(path).isFile) {
    throw usageError(`Cannot write ${path}: it is not a regular file`);
  }
}
