// The primary's metadata as a room writes it while the device runs: a flush that fails is remembered for all
// rooms (shared/failed_flush.ts). Callers: room.ts, replica_target.ts.

import type { Disk } from "../primary/disk.ts";
import { noteFailedOwnFlush } from "../shared/failed_flush.ts";
import type { SharedViews } from "../shared/layout.ts";

export function watchedDisk(disk: Disk, { words }: Pick<SharedViews, "words">): Disk {
  return {
    name: disk.name,
    sizeBytes: disk.sizeBytes,
    read: (offsetBytes, lengthBytes) => disk.read(offsetBytes, lengthBytes),
    write: (offsetBytes, bytes) => disk.write(offsetBytes, bytes),
    async flush() {
      try {
        await disk.flush();
      } catch (error) {
        noteFailedOwnFlush(words);
        throw error;
      }
    },
  };
}
