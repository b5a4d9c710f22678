// A drive with a volatile cache, over power cuts: QEMU writes to one file and keeps a log of the
// requests; after a cut the log says what the drive may be left with, which is then its content.

import type { DiskOptions } from "../../tools/guest/guest.ts";
import { run } from "../../tools/guest/process.ts";
import { WriteLog, type WriteLogEntry } from "../../tools/guest/write_log.ts";
import type { Prng } from "./prng.ts";

/** How likely it is, out of 4, that a write which no flush covered is on the drive all the same. */
const SURVIVAL = [0, 1, 2, 3, 4] as const;
/** One in so many of those is torn: only its first sectors are there. */
const TORN_ONE_IN = 8;
const SECTOR_BYTES = 512;
/**
 * File systems count on this much being written whole: ext4 does not mount with half of a new superblock.
 * The device's own metadata counts on nothing.
 */
const FS_BLOCK_BYTES = 4096;

export class PowerDisk {
  /** What the drive holds while its power is off. */
  readonly image: string;
  readonly #work: string;
  readonly #log: string;
  readonly #fsBytes: number;

  /**
   * `path`: a new file of `sizeBytes`, and the beginning of the names of others. The first `fsBytes` of it
   * belong to file systems.
   */
  constructor(path: string, { sizeBytes, fsBytes }: { sizeBytes: number; fsBytes: number }) {
    this.image = path;
    this.#work = `${path}.work`;
    this.#log = `${path}.log`;
    this.#fsBytes = fsBytes;
    Deno.createSync(path).close();
    Deno.truncateSync(path, sizeBytes);
  }

  /** What the drive holds while its power is on. */
  get work(): string {
    return this.#work;
  }

  /** The drive for a guest that is to be started now. */
  async powerOn(): Promise<DiskOptions> {
    await run("cp", ["--sparse=always", this.image, this.#work]);
    return { path: this.#work, writeLogPath: this.#log };
  }

  /** After the guest was cut; gives how many of 4 unflushed writes are to have survived. */
  powerOff(random: Prng): number {
    const survival = random.pick(SURVIVAL);
    WriteLog.open(this.#log).replayOnto(this.image, {
      survives: () => random.below(4) < survival,
      keptBytes: (entry) =>
        random.oneIn(TORN_ONE_IN) ? this.#tornBytes(entry, random) : entry.sizeBytes,
    });
    Deno.removeSync(this.#log);
    return survival;
  }

  #tornBytes({ offsetBytes, sizeBytes }: WriteLogEntry, random: Prng): number {
    const kept = random.below(sizeBytes / SECTOR_BYTES + 1) * SECTOR_BYTES;
    if (offsetBytes >= this.#fsBytes) return kept;
    const end = Math.floor((offsetBytes + kept) / FS_BLOCK_BYTES) * FS_BLOCK_BYTES;
    return Math.max(0, end - offsetBytes);
  }
}
