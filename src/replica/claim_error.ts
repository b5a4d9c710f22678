// What an operator is told about the writer that stands in the way, and what to do.
// Callers: claim.ts.

import { ReplicaError } from "../base/errors.ts";
import { DEVICE_CARD_KEY, type StoredCard, type WriterIdentity } from "../format/device_card.ts";
import type { ObjectStore } from "./object_store.ts";

/** "host db1, pid 4711, since 2026-01-31T12:00:00.000Z". */
export function holderText({ host, pid, startedMs }: WriterIdentity): string {
  return `host ${host}, pid ${pid}, since ${new Date(startedMs).toISOString()}`;
}

/** The replica is another writer's, and nobody said to take it over. */
export function claimRefused(uuid: string, holder: WriterIdentity): ReplicaError {
  const { host, pid, id } = holder;
  return new ReplicaError(
    "fenced",
    `Cannot claim the replica of ${uuid}: another writer holds it: ${holderText(holder)}`,
    {
      hint: "Stop that daemon: a clean stop releases the replica. If it is dead, or to take the " +
        "replica from it, add --take-over: it then goes on without a replica.",
      context: { holderHost: host, holderPid: pid, holderId: id },
    },
  );
}

/** The replica was ours and is not any more. */
export function fencedBy(store: ObjectStore, { writer, epoch }: StoredCard): ReplicaError {
  const by = writer === null
    ? "another writer took it over, and has released it since"
    : `another writer took it over: ${holderText(writer)}`;
  return new ReplicaError("fenced", `Cannot write to ${store.uri} any more: ${by}`, {
    hint: writer === null
      ? "Start the device again; it claims the replica then."
      : "To take the replica back, start the device again with --take-over.",
    context: {
      object: DEVICE_CARD_KEY,
      uri: store.uri,
      epoch,
      holderHost: writer?.host,
      holderPid: writer?.pid,
      holderId: writer?.id,
    },
  });
}
