// Whether queues copy writes to the pool. One word, read once per write.
//
//   CAPTURING --(replication ended for good)--> DETACHED
//
// DETACHED is never left while the device runs, and wakes every request that waits for the pool. The
// primary's superblock is `active` all along, so the next start knows that the replica is behind.

import { type SharedViews, WORD } from "./layout.ts";

export const CAPTURING = 0;
export const DETACHED = 1;

export function isCapturing(words: Int32Array): boolean {
  return Atomics.load(words, WORD.captureMode) === CAPTURING;
}

/** The caller then rings every queue's doorbell. */
export function detachCapture(views: SharedViews): void {
  Atomics.store(views.words, WORD.captureMode, DETACHED);
}
