// How commands open a replica for reading: its location checked first, then the store with the
// retries of a command that somebody waits for.

import { usageError } from "../base/errors.ts";
import { checkS3 } from "../config.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { openObjectStore } from "../replica/open.ts";
import { parseReplicaUri, type ReplicaLocation } from "../replica/replica_uri.ts";
import { ONE_SHOT_RETRY, type RetryEvent } from "../replica/retry_store.ts";
import type { S3Config } from "../replica/s3_settings.ts";
import type { Context } from "./context.ts";
import { formatDuration } from "./duration.ts";

/** Reads and checks a replica's URI; `name` is the option or argument that it belongs to. */
export function replicaLocation(text: string, name: string, s3: S3Config): ReplicaLocation {
  const location = parseReplicaUri(text, name);
  if (location.type === "raw") {
    throw usageError(`Cannot use ${name} "${text}": a device or an image file holds no objects`, {
      hint: "Write s3://bucket/key or file:///directory, as format printed it.",
    });
  }
  checkS3(location, s3);
  return location;
}

/** Tells who waits for a command why it takes so long. */
export function retryNote({ stderr }: Context): (event: RetryEvent) => void {
  return ({ type, delayMs, error }) => {
    if (type !== "retry") return;
    stderr.write(`note: ${error.message}; next try in ${formatDuration(delayMs)}\n`);
  };
}

/** Runs `use` with the store of a replica that is only read. */
export async function withReplica<T>(
  ctx: Context,
  { location, s3 }: { location: ReplicaLocation; s3: S3Config },
  use: (store: ObjectStore) => Promise<T>,
): Promise<T> {
  const store = await openObjectStore(location, {
    access: "read",
    retry: ONE_SHOT_RETRY,
    s3,
    clock: ctx.clock,
    onRetry: retryNote(ctx),
  });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
