// Whether queues copy writes to the pool. One word, read once per write.
//
//   CAPTURING   to the pool, when it has room
//   MARKING     only their chunks are marked stale: replication is paused, or has ended
//
// The replicator moves it both ways; the main room to MARKING when the replicator broke. Who moves it
// then rings every queue, for the requests that wait for room.

import { type SharedViews, WORD } from "./layout.ts";

const CAPTURING = 0;
const MARKING = 1;

export function isCapturing(words: Int32Array): boolean {
  return Atomics.load(words, WORD.captureMode) === CAPTURING;
}

export function captureWrites(views: SharedViews, on: boolean): void {
  Atomics.store(views.words, WORD.captureMode, on ? CAPTURING : MARKING);
}
