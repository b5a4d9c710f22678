// What resync is told to do with unreadable blocks where every block can be read.

import type { ResyncOptions } from "../../src/replicator/resync.ts";

export const READABLE: Pick<ResyncOptions, "nameRegion" | "onUnreadable" | "onReadable"> = {
  nameRegion: (block) => Promise.reject(new Error(`block ${block} can be read`)),
  onUnreadable: (block) => {
    throw new Error(`block ${block} can be read`);
  },
  onReadable: () => {
    throw new Error("no block was unreadable");
  },
};
