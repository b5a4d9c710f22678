// Attaching a replica, up to its writer: look, decide, claim, open. Changes nothing on the replica
// before it is known to be this primary's and free to be claimed.
//
//   look     card, newest checkpoint: refuse early, with patience for what passes only, reading only
//   claim    src/replica/claim.ts: from here on nobody else publishes
//   decide   once more, on what the claim has left behind, and on what a resync had staged
//   open     the writer: our own last commit, cut short by a crash, is adopted
//   record   where the replica stands goes to the flush log; then the superblock says "held"
//
// A crash anywhere before "held" leaves a claim that the next start knows as its own; what it finds on
// the replica it judges by the epoch of the last claim that was held, which is still recorded.
//
// Callers: room.ts.

import type { Clock } from "../base/clock.ts";
import { dataError, ReplicaError, usageError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import type { WriterIdentity } from "../format/device_card.ts";
import { readCheckpointDigest } from "../replica/checkpoint_digest.ts";
import { checkClaim, type ClaimOptions, ReplicaClaim } from "../replica/claim.ts";
import { HyperfileWriter } from "../replica/hyperfile_writer.ts";
import { type KnownInode, readHead } from "../replica/inode_reader.ts";
import type { ObjectStore } from "../replica/object_store.ts";
import { requireDeviceCard } from "../replica/read_device_card.ts";
import type { StagedTail } from "../replica/staged_tail.ts";
import { decideStartup, type StartupDecision, type StartupFacts } from "../replication/startup.ts";
import { factsOf, type FactsOptions, unpublishedFrom } from "./attach_facts.ts";
import type { StagedFound } from "./staged_start.ts";

/** A request that gets no answer is given up after 30 s: time for another one. */
const RELEASE_MS = 45_000;

/** Who this process is, and who else is alive on this machine. */
export interface RoomProcess {
  readonly host: string;
  readonly pid: number;
  readonly boot?: string;
  /** Whether a daemon of device `uuid` other than this process runs as `holder` says. */
  runs(holder: WriterIdentity, uuid: string): boolean;
}

export interface AttachOptions extends FactsOptions {
  readonly takeOver: boolean;
  readonly process: RoomProcess;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly nodeCacheBytes: number;
}

export interface Attached {
  readonly claim: ReplicaClaim;
  readonly writer: HyperfileWriter;
  readonly startup: Startup;
}

type Startup = Exclude<StartupDecision, { action: "refuse" }>;

/** Rejects when attaching would be refused. Reads only. */
export async function lookAtReplica(store: ObjectStore, options: AttachOptions): Promise<void> {
  const { metadata: { superblock }, signal } = options;
  await requireDeviceCard(store, superblock, { signal });
  const head = await readHead(store, { signal });
  await checkClaim(store, claimOptions(options));
  // A writer that is taken over may go on until then: what it leaves behind is judged afterwards.
  decided(store, options, await factsOf(store, head, options, null));
}

/** Claims the replica and opens its writer. A failure gives the claim back. */
export async function attachReplica(store: ObjectStore, options: AttachOptions): Promise<Attached> {
  const claim = await ReplicaClaim.take(store, claimOptions(options));
  try {
    return await attachClaimed(store, claim, options);
  } catch (error) {
    // The error is what the operator has to know; a claim that stays is recognised as our own.
    await Promise.allSettled([releaseSoon(claim, options.clock)]);
    throw error;
  }
}

/** Throws unless replica and primary have the same blocks, and a checkpoint can take any one request. */
export function checkBlocks(
  writer: HyperfileWriter,
  { unitBytes, tagStrideBytes }: { unitBytes: number; tagStrideBytes: number },
): void {
  const subject = `Cannot attach the replica ${writer.uri}`;
  if (writer.dataBlockBytes !== unitBytes) {
    throw dataError(
      `${subject}: its data blocks have ${writer.dataBlockBytes} bytes, ` +
        `the primary was formatted for ${unitBytes}`,
    );
  }
  if (writer.safeBatchBlocks * unitBytes < tagStrideBytes) {
    throw usageError(
      `${subject}: with its meta blocks a segment holds ${writer.safeBatchBlocks} blocks, ` +
        "less than a request",
      { hint: "Give a smaller --io-buf-size." },
    );
  }
}

/** Gives the claim back, unless the store takes too long. */
export async function releaseSoon(claim: ReplicaClaim, clock: Clock): Promise<void> {
  const late = new AbortController();
  const done = new AbortController();
  void clock.sleep(RELEASE_MS, done.signal).then(() => late.abort());
  try {
    await claim.release({ signal: late.signal });
  } finally {
    done.abort();
  }
}

async function attachClaimed(
  store: ObjectStore,
  claim: ReplicaClaim,
  options: AttachOptions,
): Promise<Attached> {
  const { metadata, clock, nodeCacheBytes, signal } = options;
  const head = await readHead(store, { signal });
  const found = await findStaged(store, head, claim, options);
  const facts = await factsOf(store, head, options, found);
  const startup = decided(store, options, facts);
  const staged = await settleStaged(startup, found, head, options);
  const recordedCno = facts.primaryCno;
  // Only directly above our own last record can an orphan be our next commit.
  const mayAdopt = startup.action !== "attach" && staged === null &&
    head.inode.lastCno === recordedCno;
  const heldEpoch = metadata.superblock.claim?.heldEpoch ?? 0;
  const writer = await HyperfileWriter.openClaimed(store, {
    claim,
    adoptEpoch: mayAdopt ? heldEpoch : null,
    // Where everything is copied it does not matter what a checkpoint holds.
    mayHold: startup.action === "forward-part" ? (block) => options.marked.has(block) : undefined,
    staged,
    nodeCacheBytes,
    signal,
  });
  if (writer.lastCno !== recordedCno || !facts.recordedIsThere) {
    // Told to go on from a replica that is not this primary's: until the copy is published, no start
    // may take the two for equal because they stand at the same number.
    if (startup.action === "forward-full" && metadata.superblock.state !== "formatted") {
      await metadata.markDiverged(clock.wallMs());
    }
    await metadata.beginFlushLog({
      cno: writer.lastCno,
      committedBytes: 0,
      timeMs: clock.wallMs(),
      inodeEtag: writer.inodeEtag,
      checkpointDigest: await readCheckpointDigest(store, writer.lastCno, { signal }) ?? "",
    });
  }
  await hit("attach.before-held");
  await claim.settle();
  return { claim, writer, startup };
}

/** What an earlier run has staged and can be gone on with; by force nothing is. */
async function findStaged(
  store: ObjectStore,
  head: KnownInode,
  { isUnbroken }: ReplicaClaim,
  { staged, force, signal }: AttachOptions,
): Promise<StagedFound | null> {
  if (staged === null || force) return null;
  return await staged.find(store, head, { isUnbroken, signal });
}

/** Goes on with what was found, or gives it up before anything is emptied. */
async function settleStaged(
  startup: Startup,
  found: StagedFound | null,
  head: KnownInode,
  options: AttachOptions,
): Promise<StagedTail | null> {
  const { staged } = options;
  if (found === null || startup.action === "attach" || !startup.resumes) {
    await staged?.giveUp(unpublishedFrom(head.inode.lastCno, options));
    return null;
  }
  await staged?.resume(found.tag, startup.action === "forward-full");
  return found.tail;
}

/** What follows from the facts; throws where that is to refuse. */
function decided(
  store: ObjectStore,
  { metadata }: AttachOptions,
  facts: StartupFacts,
): Startup {
  const decision = decideStartup(facts);
  if (decision.action !== "refuse") return decision;
  // A record that does not show would be newer than all others: it explains no replica that is behind.
  const hidden = facts.replicaCno < facts.primaryCno ? null : metadata.hiddenRecord;
  if (hidden === "unreadable") throw recordUnreadable(store, decision.why);
  const record = hidden && "; but the newest record of the primary's flush log is damaged";
  throw dataError(`Cannot attach the replica ${store.uri}: ${decision.why}${record ?? ""}`, {
    hint: "Was the primary restored, or the replica written by another device? To make the " +
      "replica follow this primary from now on, start with --force-startup-recover.",
  });
}

/** What speaks against the replica may be a record that the drive does not give right now. */
function recordUnreadable({ uri }: ObjectStore, why: string): ReplicaError {
  return new ReplicaError(
    "kernel",
    `Cannot attach the replica ${uri}: the newest record of the primary's flush log can't be read, ` +
      `and as far as the others tell, ${why}`,
    {
      hint: "The kernel's log has the drive's error. Start again: reads may pass. If they don't, " +
        "--force-startup-recover makes the replica follow this primary, by a copy of the whole device.",
    },
  );
}

function claimOptions(options: AttachOptions): ClaimOptions {
  const { metadata, takeOver, process, clock, newId, signal } = options;
  const { superblock } = metadata;
  return {
    device: superblock,
    memory: {
      get claim() {
        return metadata.superblock.claim;
      },
      remember: (claim) => metadata.storeSuperblock({ claim, writtenMs: clock.wallMs() }),
    },
    takeOver,
    self: { host: process.host, pid: process.pid, boot: process.boot },
    holderRuns: (holder) => process.runs(holder, superblock.uuid),
    clock,
    newId,
    signal,
  };
}
