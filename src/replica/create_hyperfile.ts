// An empty Hyperfile: its inode, and nothing else. Caller: new_replica.ts.

import { usageError } from "../base/errors.ts";
import { INODE_KEY, InodeRecord, newInode, type NewInodeOptions } from "../format/inode.ts";
import { equalBytes } from "./commit_protocol.ts";
import { readInode } from "./inode_reader.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";

/** Creates an empty replica; a usage error when there is one already that this call did not make. */
export async function createHyperfile(
  store: ObjectStore,
  options: NewInodeOptions & RequestOptions,
): Promise<void> {
  const { signal } = options;
  const bytes = InodeRecord.toBytes(newInode(options));
  const put = await store.put(INODE_KEY, [bytes], { condition: { absent: true }, signal });
  const found = await readInode(store, { signal });
  // Refused, but what stands there is what we put: the answer to an earlier try was lost.
  if (found === null || !(put.stored || equalBytes(found.bytes, bytes))) {
    throw usageError(`Cannot create a replica at ${store.uri}: there is one already`, {
      context: { object: INODE_KEY, uri: store.uri },
    });
  }
}
