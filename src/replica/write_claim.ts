// The right to write to a replica, as those who write see it. Who makes it: claim.ts.

import type { RequestOptions } from "./object_store.ts";

export interface WriteClaim {
  /** Stamped on the inode and so on every segment that is written under the claim. */
  readonly epoch: number;
  /** The stamp that the inode had before this claim's; null where that is not known for certain. */
  readonly stampBefore: number | null;
  /**
   * Throws `fenced`, naming the holder, unless the claim stands. Whoever asks has read before what the
   * answer is to vouch for: the card is newer than that, so no later claim can be behind it.
   */
  requireHeld(options?: RequestOptions): Promise<void>;
}
