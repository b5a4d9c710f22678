// Reads a disk's write log (DiskOptions.writeLogPath, the format of dm-log-writes) and builds the
// image that a drive with a volatile cache may be left with when its power is cut: everything up to
// a flush, and any of the writes after it.

import { size64, struct, u32, u64 } from "../../src/base/struct.ts";

const SuperBlock = struct("WriteLogSuperBlock", 28, {
  magic: u64,
  version: u64,
  entryCount: size64,
  sectorBytes: u32,
});
const EntryHeader = struct("WriteLogEntry", 32, {
  sector: size64,
  sectorCount: size64,
  flags: u64,
  dataBytes: size64,
});

const MAGIC = 0x6a736677736872n;
const FLAG_FLUSH = 1n;
const FLAG_FUA = 2n;
const FLAG_DISCARD = 4n;

/** One request that the disk was given, in the order in which it came. */
export interface WriteLogEntry {
  readonly offsetBytes: number;
  /** 0: only a flush. */
  readonly sizeBytes: number;
  readonly isFlush: boolean;
  /** Durable without a flush. */
  readonly isFua: boolean;
  readonly isDiscard: boolean;
  /** Where the written bytes stand in the log. */
  readonly dataOffsetBytes: number;
}

export interface ReplayOptions {
  /** Entries up to this one (not included) had come when the power was cut. Default: all. */
  end?: number;
  /** Whether an entry that no flush made durable is on the disk all the same. Default: none is. */
  survives?: (entry: WriteLogEntry, index: number) => boolean;
  /** How much of an entry that survives so is on the disk, from its beginning. Default: all. */
  keptBytes?: (entry: WriteLogEntry, index: number) => number;
}

/** The log of one disk. */
export class WriteLog {
  readonly entries: readonly WriteLogEntry[];
  readonly #path: string;

  private constructor(path: string, entries: readonly WriteLogEntry[]) {
    this.#path = path;
    this.entries = entries;
  }

  /** Reads all headers. Call it when the guest has ended. */
  static open(path: string): WriteLog {
    using file = Deno.openSync(path);
    const first = SuperBlock.decode(readAt(file, 0, SuperBlock.size), 0);
    // The first write brings the superblock.
    if (first.magic === 0n) return new WriteLog(path, []);
    if (first.magic !== MAGIC) throw new Error(`${path} is not a write log`);
    const sectorBytes = first.sectorBytes;
    const entries: WriteLogEntry[] = [];
    let at = sectorBytes;
    for (let n = 0; n < first.entryCount; n++) {
      const header = EntryHeader.decode(readAt(file, at, EntryHeader.size), 0);
      const isDiscard = (header.flags & FLAG_DISCARD) !== 0n;
      const sizeBytes = header.sectorCount * sectorBytes;
      entries.push({
        offsetBytes: header.sector * sectorBytes,
        sizeBytes,
        isFlush: (header.flags & FLAG_FLUSH) !== 0n,
        isFua: (header.flags & FLAG_FUA) !== 0n,
        isDiscard,
        dataOffsetBytes: at + sectorBytes,
      });
      at += sectorBytes + (isDiscard ? 0 : sizeBytes);
    }
    return new WriteLog(path, entries);
  }

  /** Writes onto `image`, which holds what the disk held before the log, what a power cut leaves. */
  replayOnto(image: string, options: ReplayOptions = {}): void {
    const end = options.end ?? this.entries.length;
    const durable = this.entries.slice(0, end).findLastIndex((entry) => entry.isFlush);
    using log = Deno.openSync(this.#path);
    using disk = Deno.openSync(image, { write: true });
    for (const [index, entry] of this.entries.slice(0, end).entries()) {
      // A discarded sector may read as anything; so it keeps what it had.
      if (entry.isDiscard || entry.sizeBytes === 0) continue;
      const isDurable = index <= durable || entry.isFua;
      if (!isDurable && !options.survives?.(entry, index)) continue;
      const keptBytes = isDurable ? entry.sizeBytes : options.keptBytes?.(entry, index);
      const data = readAt(log, entry.dataOffsetBytes, keptBytes ?? entry.sizeBytes);
      disk.seekSync(entry.offsetBytes, Deno.SeekMode.Start);
      for (let done = 0; done < data.byteLength;) {
        done += disk.writeSync(new Uint8Array(data.buffer, done));
      }
    }
  }
}

function readAt(file: Deno.FsFile, offsetBytes: number, sizeBytes: number): DataView<ArrayBuffer> {
  const data = new Uint8Array(sizeBytes);
  file.seekSync(offsetBytes, Deno.SeekMode.Start);
  for (let done = 0; done < sizeBytes;) {
    const count = file.readSync(data.subarray(done));
    if (count === null) throw new Error(`The write log ends in an entry at ${offsetBytes}`);
    done += count;
  }
  return new DataView(data.buffer);
}
