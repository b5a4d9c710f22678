// A HyperfileWriter that nobody contends with, on a store without a device card: for tests of what it
// writes. claimant.ts has those of claims.

import type { NewInodeOptions } from "../../src/format/inode.ts";
import { createHyperfile } from "../../src/replica/create_hyperfile.ts";
import { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import { stampOf } from "../../src/replica/touch_inode.ts";
import type { WriteClaim } from "../../src/replica/write_claim.ts";
import type { WriterOptions } from "../../src/replica/writer_options.ts";

/** The epoch whose stamp an inode has that was created at 1 ms, without ever being touched. */
const EPOCH = 1_000_000;

export interface SoleOptions extends WriterOptions {
  /** What the claim says when it is asked; held unless told otherwise. */
  readonly requireHeld?: () => Promise<void>;
}

/** Creates an empty replica and opens it. */
export async function createWriter(
  store: ObjectStore,
  options: SoleOptions & NewInodeOptions,
): Promise<HyperfileWriter> {
  await createHyperfile(store, options);
  return await openWriter(store, options);
}

/** `adopt`: publish a whole segment above the last checkpoint, of a replica created at 1 ms. */
export function openWriter(
  store: ObjectStore,
  { adopt = false, requireHeld, ...options }: SoleOptions & { adopt?: boolean } = {},
): Promise<HyperfileWriter> {
  const claim: WriteClaim = {
    epoch: EPOCH,
    stampBefore: stampOf(EPOCH),
    requireHeld: requireHeld ?? (() => Promise.resolve()),
  };
  const adoptEpoch = adopt ? EPOCH : null;
  return HyperfileWriter.openClaimed(store, { ...options, claim, adoptEpoch });
}
