// The claim on a replica: which one of all writers may write (R13, R14). It lies in the replica's card,
// device.json, and is taken by CAS on the card's etag.
//
//   take:     superblock "claiming" -> card {epoch + 1, our id} by CAS -> inode touched by CAS
//   (then the caller opens its writer and accounts for what an earlier run left)  -> settle: "held"
//   release:  card {writer: null} by CAS, after the last commit of a clean stop
//
// Why two writers never interleave:
// - Cards have a growing epoch, so their bytes and etags never come back: of several claims on one
//   card exactly one CAS succeeds, and a late one of a dead process can't replace a later card.
// - The touch puts the epoch into the inode's ctime nanoseconds, so the inode's etag is a new one. A
//   writer of an earlier claim fails its next If-Match, reads the card, and is fenced. Its commit
//   before the touch is a commit before the takeover: the new writer reads the inode that its own
//   touch has left behind.
// - An inode that was read before a card that names us can't have been touched by a later claim: the
//   later card came first. So "read, then ask requireHeld()" is sound everywhere.
//
// A crash, or a put whose answer is lost:
// - before the CAS: the superblock says "claiming" with the id tried; the card shows what it showed
//   before: nobody, our claim before (the superblock's previous id), or the writer to be taken over.
//   The next start tries the same epoch again with the same id, so whenever the lost put arrives, it
//   is ours.
// - after the CAS, before "held": the card shows the id that the superblock calls "claiming": ours.
// - in this process: the card is read again; whether it shows our id, host, pid and time is the answer.
// - after "held" until release: the card shows the superblock's id: the next start takes it silently.
// - around the release: the card shows us (as above) or nobody; the superblock need not know which.
// - A copy of a primary has its id too. Where the original's daemon can be seen, on the same machine,
//   the copy is refused; elsewhere it takes over, which is safe: the original is fenced.
//
// Callers: src/replicator/attach.ts.

import type { Clock } from "../base/clock.ts";
import { invariant } from "../base/assert.ts";
import { ReplicaError } from "../base/errors.ts";
import { hit } from "../base/failpoints.ts";
import { newUuid } from "../base/uuid.ts";
import {
  DEVICE_CARD_KEY,
  type DeviceCard,
  encodeDeviceCard,
  sameWriter,
  type StoredCard,
  type WriterIdentity,
} from "../format/device_card.ts";
import type { PrimaryClaim } from "../format/superblock.ts";
import {
  type ClaimDecision,
  type ClaimedFrom,
  decideClaim,
  isUnbroken,
} from "../replication/claim.ts";
import { claimRefused, fencedBy } from "./claim_error.ts";
import { tryPut } from "./commit_protocol.ts";
import type { ObjectStore, RequestOptions } from "./object_store.ts";
import { type FoundCard, requireDeviceCard } from "./read_device_card.ts";
import { touchInode } from "./touch_inode.ts";
import type { WriteClaim } from "./write_claim.ts";

/** Races with other claims, or lost answers in a row, before a claim is given up. */
const ATTEMPTS_MAX = 16;

/** The claim as the primary's superblock keeps it. */
export interface ClaimMemory {
  readonly claim: PrimaryClaim | null;
  /** Durable when it resolves. */
  remember(claim: PrimaryClaim): Promise<void>;
}

export interface ClaimOptions extends RequestOptions {
  /** What the primary says of itself: a replica of another device is refused. */
  readonly device: DeviceCard;
  readonly memory: ClaimMemory;
  /** Take the replica from the writer that holds it. */
  readonly takeOver: boolean;
  /** This process, for the people who meet the claim. */
  readonly self: Pick<WriterIdentity, "host" | "pid" | "boot">;
  /** Whether the process that a card names is seen alive; never true of this process. */
  readonly holderRuns: (holder: WriterIdentity) => boolean | Promise<boolean>;
  readonly clock: Pick<Clock, "wallMs">;
  /** Of a new claim; for tests. */
  readonly newId?: () => string;
}

/** Throws what take() would throw at once; changes nothing. */
export async function checkClaim(store: ObjectStore, options: ClaimOptions): Promise<void> {
  const found = await requireDeviceCard(store, options.device, options);
  await decide(found.card, options, null);
}

interface Attempt {
  readonly writer: WriterIdentity;
  readonly epoch: number;
  readonly from: ClaimedFrom;
  readonly isUnbroken: boolean;
}

/** The right to write to one replica. */
export class ReplicaClaim implements WriteClaim {
  readonly epoch: number;
  readonly writer: WriterIdentity;
  /** Whose the replica was before. */
  readonly from: ClaimedFrom;
  /** Nobody else has claimed the replica since this primary last held it. */
  readonly isUnbroken: boolean;
  stampBefore: number | null = null;
  readonly #store: ObjectStore;
  readonly #memory: ClaimMemory;
  #found: FoundCard;

  private constructor(
    store: ObjectStore,
    memory: ClaimMemory,
    found: FoundCard,
    parts: Attempt,
  ) {
    this.#store = store;
    this.#memory = memory;
    this.#found = found;
    this.epoch = parts.epoch;
    this.writer = parts.writer;
    this.from = parts.from;
    this.isUnbroken = parts.isUnbroken;
  }

  /**
   * Takes the claim and locks earlier writers out. Errors: `fenced` - another writer holds it, or has
   * just taken it; `unavailable` - the store does not answer; `data`, `usage` - not this device's.
   */
  static async take(store: ObjectStore, options: ClaimOptions): Promise<ReplicaClaim> {
    const { memory, clock, self, signal } = options;
    const startedMs = clock.wallMs();
    const before = memory.claim;
    let tried: Attempt | null = null;
    let holderId: string | null = null;
    let lastError: unknown;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const found = await requireDeviceCard(store, options.device, { signal });
      if (tried && sameWriter(found.card.writer, tried.writer)) {
        return await ReplicaClaim.#taken(store, memory, found, { ...tried, signal, startedMs });
      }
      // Leave to take over is leave to take over from the writer that stood there when it was given.
      holderId ??= found.card.writer?.id ?? "";
      const { epoch, from, id, previousId } = await decide(found.card, options, holderId);
      const writer = { id: id ?? (options.newId ?? newUuid)(), ...self, startedMs };
      tried = { writer, epoch, from, isUnbroken: isUnbroken(found.card, before) };
      await remember(memory, { stage: "claiming", epoch, id: writer.id, previousId });
      const card = { ...found.card, epoch, writer };
      await hit("attach.before-card");
      const put = await putCard(store, card, found.etag, signal);
      if (put.stored === true) {
        const parts = { ...tried, signal, startedMs };
        return await ReplicaClaim.#taken(store, memory, { card, etag: put.etag }, parts);
      }
      if (put.stored === "unknown") lastError = put.error;
    }
    throw lastError ?? unsettled(store);
  }

  static async #taken(
    store: ObjectStore,
    memory: ClaimMemory,
    found: FoundCard,
    parts: Attempt & { startedMs: number; signal?: AbortSignal },
  ): Promise<ReplicaClaim> {
    await hit("attach.after-card");
    const claim = new ReplicaClaim(store, memory, found, parts);
    claim.stampBefore = await touchInode(store, claim, {
      nowMs: parts.startedMs,
      signal: parts.signal,
    });
    await hit("attach.after-touch");
    return claim;
  }

  /**
   * Everything that earlier runs left on the replica is in the primary's records: from now on this
   * claim's epoch is what marks this primary's checkpoints.
   */
  async settle(): Promise<void> {
    const { epoch, writer: { id } } = this;
    await this.#memory.remember({ stage: "held", epoch, id, previousId: null, heldEpoch: epoch });
  }

  async requireHeld(options: RequestOptions = {}): Promise<void> {
    const { card } = await requireDeviceCard(this.#store, this.#found.card, options);
    if (sameWriter(card.writer, this.writer)) return;
    throw fencedBy(this.#store, card);
  }

  /** Gives the replica free. To be called after the last commit; then there are no more. */
  async release(options: RequestOptions = {}): Promise<void> {
    await hit("stop.before-release");
    await this.#release(options);
    await hit("stop.after-release");
  }

  async #release(options: RequestOptions): Promise<void> {
    let lastError: unknown;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const free = { ...this.#found.card, writer: null };
      const put = await putCard(this.#store, free, this.#found.etag, options.signal);
      if (put.stored === true) return;
      if (put.stored === "unknown") lastError = put.error;
      this.#found = await requireDeviceCard(this.#store, this.#found.card, options);
      const { card } = this.#found;
      if (card.writer === null && card.epoch === this.epoch) return;
      if (!sameWriter(card.writer, this.writer)) throw fencedBy(this.#store, card);
    }
    throw lastError ?? unsettled(this.#store);
  }
}

/** `holderId`: the writer that the operator's leave is about; null while nobody was seen yet. */
async function decide(
  card: StoredCard,
  options: ClaimOptions,
  holderId: string | null,
): Promise<Extract<ClaimDecision, { action: "claim" }>> {
  const { writer } = card;
  const decision = decideClaim({
    card,
    claim: options.memory.claim,
    holderRuns: writer !== null && await options.holderRuns(writer),
    takeOver: options.takeOver && (holderId === null || writer?.id === holderId),
  });
  if (decision.action === "refuse") throw claimRefused(options.device.uuid, decision.holder);
  return decision;
}

async function remember(
  memory: ClaimMemory,
  claim: Omit<PrimaryClaim, "heldEpoch">,
): Promise<void> {
  const { claim: before } = memory;
  const known = before !== null && before.stage === claim.stage && before.epoch === claim.epoch &&
    before.id === claim.id && before.previousId === claim.previousId;
  if (!known) await memory.remember({ ...claim, heldEpoch: before?.heldEpoch ?? 0 });
}

function putCard(store: ObjectStore, card: StoredCard, etag: string, signal?: AbortSignal) {
  invariant(card.epoch > 0, "a claimed card has an epoch");
  const condition = { etag };
  return tryPut(store, DEVICE_CARD_KEY, [encodeDeviceCard(card)], { condition, signal });
}

function unsettled(store: ObjectStore): ReplicaError {
  return new ReplicaError("unavailable", `Cannot claim ${store.uri}: it changes all the time`, {
    context: { object: DEVICE_CARD_KEY, uri: store.uri },
    hint: "Is another daemon being started on this replica? Start one of them only.",
  });
}
