// Whether a flush of the primary has failed in this run, whoever sent it: a guest's FLUSH or FUA, one
// of the metadata. What it should have made durable may be lost, although reads still show it,
// and a later flush that succeeds says nothing of it: Linux tells of a lost write once, and only those who had
// the file open.
//
// So for the rest of the run no dirty mark goes (intent_cleaner.ts) and no stop is a clean one
// (target/intents.ts): the next start copies what the primary really holds. And the guest has to know: where it
// was not the guest's own flush that failed, its next one is answered with EIO.

import { WORD } from "./layout.ts";

/** A flush of the guest, which is told so. */
export function noteFailedFlush(words: Int32Array): void {
  Atomics.store(words, WORD.failedFlush, 1);
}

/** A flush of ours, which may have lost what the guest wrote. */
export function noteFailedOwnFlush(words: Int32Array): void {
  Atomics.store(words, WORD.untoldFlush, 1);
  noteFailedFlush(words);
}

/** The guest flushes: whether one of ours has failed that it has not been told of. It is told now. */
export function takeUntoldFlush(words: Int32Array): boolean {
  return Atomics.exchange(words, WORD.untoldFlush, 0) === 1;
}

export function hasFlushFailed(words: Int32Array): boolean {
  return Atomics.load(words, WORD.failedFlush) === 1;
}
