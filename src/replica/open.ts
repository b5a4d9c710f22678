// From a replica's location to the store that the rest of the program uses: the plain store of its
// kind, inside the retries that suit the caller. Callers: the commands and the replicator's room.

import { type Clock, systemClock } from "../base/clock.ts";
import { usageError } from "../base/errors.ts";
import { FileStore } from "./file_store.ts";
import type { ObjectStore } from "./object_store.ts";
import type { ReplicaLocation } from "./replica_uri.ts";
import { type RetryEvent, type RetryPolicy, RetryStore } from "./retry_store.ts";
import type { S3Options } from "./s3_settings.ts";

export interface OpenStoreOptions {
  /**
   * `create`: the root may be new (format); `write`: it must be there (attach); `read`: nothing
   * will be written. An S3 root has no existence of its own, so there the three are alike.
   */
  readonly access: "read" | "write" | "create";
  /** ONE_SHOT_RETRY for commands, DAEMON_RETRY for the replicator. */
  readonly retry: RetryPolicy;
  readonly onRetry?: (event: RetryEvent) => void;
  /** Over what the AWS environment variables say. */
  readonly s3?: Partial<Omit<S3Options, "bucket" | "key">>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** Opens the store of objects at `location`. S3 is first spoken to by the first call. */
export async function openObjectStore(
  location: ReplicaLocation,
  options: OpenStoreOptions,
): Promise<ObjectStore> {
  const { retry: policy, clock, random, onRetry: onEvent } = options;
  const store = await openPlainStore(location, options);
  return new RetryStore(store, { policy, clock, random, onEvent });
}

async function openPlainStore(
  location: ReplicaLocation,
  options: OpenStoreOptions,
): Promise<ObjectStore> {
  const { access, clock = systemClock } = options;
  switch (location.type) {
    case "file":
      return await FileStore.open({ path: location.path, access, clock });
    case "s3": {
      // Loaded only where it is needed: the SDK costs 24 MiB and a tenth of a second.
      const { S3Store } = await import("./s3_store.ts");
      const { bucket, key } = location;
      return new S3Store({ ...options.s3, bucket, key, clock });
    }
    case "raw":
      throw usageError(`Cannot open ${location.uri}: a device or an image file holds no objects`, {
        hint: "Checkpoints and history need a replica on s3://bucket/key or file:///directory.",
      });
  }
}
