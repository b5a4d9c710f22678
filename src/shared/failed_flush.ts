// Whether a flush of the primary has failed in this run, whoever sent it: a guest's FLUSH or FUA, one
// of the metadata. What it should have made durable may be lost, although reads still show it,
// and a later flush that succeeds says nothing of it: Linux tells of a lost write once, and only those who had
// the file open.
//
// So for the rest of the run no dirty mark goes (intent_cleaner.ts) and no stop is a clean one
// (target/intents.ts): the next start copies what the primary really holds.

import { WORD } from "./layout.ts";

export function noteFailedFlush(words: Int32Array): void {
  Atomics.store(words, WORD.failedFlush, 1);
}

export function hasFlushFailed(words: Int32Array): boolean {
  return Atomics.load(words, WORD.failedFlush) === 1;
}
