// The superblock: who a primary is, how it is laid out, and how far it got in its life.
// Two copies fill the last two pages of the primary. docs/primary-format.md shows the bytes.
//
// Invariants:
// - Every store writes both copies with a sequence one above anything seen before; so two valid
//   copies of the same sequence have the same bytes, and the higher sequence is the newer state.
// - Both copies always tell the same identity: formatting a primary anew removes the old identity
//   before it writes the new one (src/primary/metadata.ts).
// - Bytes that later versions will use are declared here and are 0 until then.
//
// Pure. Callers: src/primary/metadata.ts (load, store), inspect.

import { dataError } from "../base/errors.ts";
import { bytes, size64, struct, text, u32, type ValuesOf, zero } from "../base/struct.ts";
import { isPowerOfTwo } from "../base/units.ts";
import { uuidFromBytes, uuidToBytes } from "../base/uuid.ts";
import {
  PAGE_BYTES,
  PAGE_HEAD,
  type PageKind,
  type PageVerdict,
  readPage,
  sealPage,
} from "./sealed_page.ts";

export const SUPERBLOCK_COPIES = 2;
/** Longest replica root URI in UTF-8 bytes. */
export const REPLICA_ROOT_BYTES_MAX = 1024;

export const SUPERBLOCK_KIND: PageKind = { magic: "IOREPLSB", version: 1 };

export const SuperblockRecord = struct("Superblock", PAGE_BYTES, {
  ...PAGE_HEAD,
  /** Identity of the device; also the last component of the replica's URI. */
  uuid: bytes(16),
  /** Size of the primary when it was formatted: a primary that was resized is recognised. */
  primarySizeBytes: size64,
  deviceSizeBytes: size64,
  regionBytes: size64,
  metaBlockBytes: u32,
  dataBlockBytes: u32,
  /** A number of PRIMARY_STATES. */
  state: u32,
  /** Features that a reader must know: bits of PRIMARY_FEATURES. */
  features: u32,
  createdMs: size64,
  /** When this superblock was written. */
  writtenMs: size64,
  /** The claim on the replica (R13): its epoch, and the id by which the replica's card knows us. */
  claimEpoch: size64,
  /** The last claim under which this primary may have written; 0: none. */
  claimHeldEpoch: size64,
  claimId: bytes(16),
  /** The id that the card may still show while the claim is being made. */
  claimPreviousId: bytes(16),
  /** A number of CLAIM_STAGES. */
  claimStage: u32,
  reservedWriter: zero(12),
  /** For the restore intent: checkpoint, stage, progress (R15). */
  reservedRestore: zero(128),
  /** For the start-up and resync state (R12). */
  reservedStartup: zero(64),
  /** Root URI of the replica without trailing slashes; the replica is at <root>/<uuid>. Empty: none. */
  replicaRoot: text(REPLICA_ROOT_BYTES_MAX),
  reserved: zero(2720),
});

/**
 * What a reader must know, as stored.
 * - `stagedMap`: there is a staged map. Whoever does not know it would take a region that a resync has
 *   only staged for one that the replica has.
 */
export const PRIMARY_FEATURES = { stagedMap: 1 } as const;

/**
 * The stages of a primary's life, as stored.
 * - `formatting`: format has begun and the replica may or may not exist: only format may go on.
 * - `formatted`: the first copy of the whole device is not complete; also while the device runs.
 * - `active`: in use by a daemon, or one died: the dirty map names what may differ.
 * - `clean`: stopped in order: the replica's last checkpoint equals the primary.
 * - `diverged`: a copy of the whole device is due or under way again: the dirty map does not tell what the
 *   replica lacks, only the staged map's pages of such a copy count.
 */
export const PRIMARY_STATES = {
  formatting: 1,
  formatted: 2,
  active: 3,
  clean: 4,
  diverged: 5,
} as const;
export type PrimaryState = keyof typeof PRIMARY_STATES;

/**
 * How far a claim on the replica is, as stored.
 * - `none`: never claimed.
 * - `claiming`: the replica's card may show this claim or not yet: the id is ours, never another's.
 * - `held`: the card has shown it, and what a run before left on the replica is accounted for.
 */
export const CLAIM_STAGES = { none: 0, claiming: 1, held: 2 } as const;

/** What the primary knows of its claim on the replica. */
export interface PrimaryClaim {
  readonly stage: "claiming" | "held";
  readonly epoch: number;
  readonly id: string;
  /** While `claiming`: the id of our claim before, which the card may still show. */
  readonly previousId: string | null;
  /** Epoch of the last claim that was held: checkpoints of that epoch are this primary's; 0: none. */
  readonly heldEpoch: number;
}

type Values = ValuesOf<typeof SuperblockRecord>;
type ClaimField =
  | "claimEpoch"
  | "claimHeldEpoch"
  | "claimId"
  | "claimPreviousId"
  | "claimStage";
type ClaimValues = Pick<Values, ClaimField>;
type Rewritten = "magic" | "checksum" | "version" | "features" | "uuid" | "state";

export interface Superblock extends Omit<Values, Rewritten | ClaimField> {
  readonly uuid: string;
  readonly state: PrimaryState;
  /** False on primaries that were formatted before there was one. */
  readonly hasStagedMap: boolean;
  /** Null: the replica was never claimed. */
  readonly claim: PrimaryClaim | null;
}

const NO_ID = new Uint8Array(16);

function checkedClaim(values: ClaimValues): PrimaryClaim | null {
  const { claimStage, claimEpoch: epoch, claimHeldEpoch: heldEpoch, claimId } = values;
  if (claimStage === CLAIM_STAGES.none) return null;
  if (claimStage !== CLAIM_STAGES.claiming && claimStage !== CLAIM_STAGES.held) {
    throw dataError(`Cannot read Superblock.claimStage: ${claimStage} is none`);
  }
  const { claimPreviousId: previous } = values;
  const previousId = equalBytes(previous, NO_ID) ? null : uuidFromBytes(previous);
  const stage = claimStage === CLAIM_STAGES.held ? "held" : "claiming";
  return { stage, epoch, id: uuidFromBytes(claimId), previousId, heldEpoch };
}

function claimValues(claim: PrimaryClaim | null): ClaimValues {
  return {
    claimStage: CLAIM_STAGES[claim?.stage ?? "none"],
    claimEpoch: claim?.epoch ?? 0,
    claimHeldEpoch: claim?.heldEpoch ?? 0,
    claimId: claim === null ? NO_ID : uuidToBytes(claim.id),
    claimPreviousId: claim?.previousId ? uuidToBytes(claim.previousId) : NO_ID,
  };
}

function checked(values: Values): Superblock {
  const { magic: _magic, checksum: _checksum, version: _version, features, ...most } = values;
  const { claimEpoch, claimHeldEpoch, claimId, claimPreviousId, claimStage, ...rest } = most;
  const claim = checkedClaim({
    claimEpoch,
    claimHeldEpoch,
    claimId,
    claimPreviousId,
    claimStage,
  });
  const state = Object.entries(PRIMARY_STATES).find(([, code]) => code === values.state)?.[0];
  if (state === undefined) throw dataError(`Cannot read Superblock.state: ${values.state} is none`);
  if (features !== 0 && features !== PRIMARY_FEATURES.stagedMap) {
    throw dataError(`Cannot read Superblock.features: ${features} is not known`);
  }
  for (const name of ["metaBlockBytes", "dataBlockBytes"] as const) {
    if (!isPowerOfTwo(values[name]) || values[name] < PAGE_BYTES) {
      throw dataError(`Cannot read Superblock.${name}: ${values[name]} is no block size`);
    }
  }
  const hasStagedMap = features === PRIMARY_FEATURES.stagedMap;
  const uuid = uuidFromBytes(values.uuid);
  return { ...rest, uuid, state: state as PrimaryState, hasStagedMap, claim };
}

/** The page of a superblock, sealed with its own sequence. */
export function encodeSuperblock(superblock: Superblock): Uint8Array<ArrayBuffer> {
  const { claim, hasStagedMap, ...rest } = superblock;
  const page = SuperblockRecord.toBytes({
    ...rest,
    ...claimValues(claim),
    magic: new Uint8Array(8),
    checksum: 0,
    version: 0,
    features: hasStagedMap ? PRIMARY_FEATURES.stagedMap : 0,
    uuid: uuidToBytes(superblock.uuid),
    state: PRIMARY_STATES[superblock.state],
  });
  sealPage(page, SUPERBLOCK_KIND, superblock.sequence);
  return page;
}

/** Judges one copy; never throws on what the bytes are. */
export function decodeSuperblock(page: Uint8Array): PageVerdict<Superblock> {
  return readPage(page, SUPERBLOCK_KIND, SuperblockRecord, checked);
}

/** What the two copies say together. */
export type SuperblockVerdict =
  | { readonly kind: "absent" }
  /** No copy may be used: `reason` says why. */
  | { readonly kind: "damaged" | "conflict" | "unsupported"; readonly reason: string }
  | {
    readonly kind: "valid";
    readonly superblock: Superblock;
    /** The copy it was read from; the next store writes the other one first. */
    readonly winner: number;
    /** Both copies are whole and the same. */
    readonly redundant: boolean;
  };

/**
 * Chooses among the copies; null stands for one that can't be read from the disk. The highest valid sequence wins. Two identities, or two different
 * contents of the same sequence, or a copy written by a later version, are not decided but reported.
 */
export function chooseSuperblock(pages: readonly (Uint8Array | null)[]): SuperblockVerdict {
  const copies = pages.map((page): PageVerdict<Superblock> =>
    page === null ? { kind: "damaged", reason: "can't be read" } : decodeSuperblock(page)
  );
  const valid: { superblock: Superblock; copy: number }[] = [];
  for (const [copy, verdict] of copies.entries()) {
    if (verdict.kind === "unsupported") {
      return { kind: "unsupported", reason: `copy ${copy} has version ${verdict.version}` };
    }
    if (verdict.kind === "valid") valid.push({ superblock: verdict.value, copy });
  }
  if (valid.length === 0) {
    const reasons = copies.flatMap((verdict, copy) =>
      verdict.kind === "damaged" ? [`copy ${copy}: ${verdict.reason}`] : []
    );
    return reasons.length === 0
      ? { kind: "absent" }
      : { kind: "damaged", reason: reasons.join("; ") };
  }
  const conflict = conflictAmong(valid.map(({ superblock }) => superblock));
  if (conflict !== null) return { kind: "conflict", reason: conflict };
  const best = valid.reduce((a, b) => b.superblock.sequence > a.superblock.sequence ? b : a);
  const redundant = valid.length === pages.length &&
    valid.every(({ superblock }) => superblock.sequence === best.superblock.sequence);
  return { kind: "valid", superblock: best.superblock, winner: best.copy, redundant };
}

function conflictAmong([a, b]: readonly Superblock[]): string | null {
  if (b === undefined) return null;
  if (a.uuid !== b.uuid) return `the copies name two devices, ${a.uuid} and ${b.uuid}`;
  if (a.sequence === b.sequence && !equalBytes(encodeSuperblock(a), encodeSuperblock(b))) {
    return `the copies have the same sequence ${a.sequence} and different contents`;
  }
  return null;
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
