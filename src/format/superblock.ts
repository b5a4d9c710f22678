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
  /** Features that a reader must know; none yet. */
  features: u32,
  createdMs: size64,
  /** When this superblock was written. */
  writtenMs: size64,
  /** For the writer's epoch and identity (R13). */
  reservedWriter: zero(64),
  /** For the restore intent: checkpoint, stage, progress (R15). */
  reservedRestore: zero(128),
  /** For the start-up and resync state (R12). */
  reservedStartup: zero(64),
  /** Root URI of the replica without trailing slashes; the replica is at <root>/<uuid>. Empty: none. */
  replicaRoot: text(REPLICA_ROOT_BYTES_MAX),
  reserved: zero(2720),
});

/**
 * The stages of a primary's life, as stored.
 * - `formatting`: format has begun and the replica may or may not exist: only format may go on.
 * - `formatted`: never synced: the replica does not yet hold what the primary holds.
 * - `active`: in use by a daemon, or one died: primary and replica may differ in what was in flight.
 * - `clean`: stopped in order: the replica's last checkpoint equals the primary.
 * - `diverged`: replication ended while the device went on: the replica lacks writes for certain.
 */
export const PRIMARY_STATES = {
  formatting: 1,
  formatted: 2,
  active: 3,
  clean: 4,
  diverged: 5,
} as const;
export type PrimaryState = keyof typeof PRIMARY_STATES;

type Values = ValuesOf<typeof SuperblockRecord>;

export interface Superblock
  extends Omit<Values, "magic" | "checksum" | "version" | "features" | "uuid" | "state"> {
  readonly uuid: string;
  readonly state: PrimaryState;
}

function checked(values: Values): Superblock {
  const { magic: _magic, checksum: _checksum, version: _version, features, ...rest } = values;
  const state = Object.entries(PRIMARY_STATES).find(([, code]) => code === values.state)?.[0];
  if (state === undefined) throw dataError(`Cannot read Superblock.state: ${values.state} is none`);
  if (features !== 0) throw dataError(`Cannot read Superblock.features: ${features} is not known`);
  for (const name of ["metaBlockBytes", "dataBlockBytes"] as const) {
    if (!isPowerOfTwo(values[name]) || values[name] < PAGE_BYTES) {
      throw dataError(`Cannot read Superblock.${name}: ${values[name]} is no block size`);
    }
  }
  return { ...rest, uuid: uuidFromBytes(values.uuid), state: state as PrimaryState };
}

/** The page of a superblock, sealed with its own sequence. */
export function encodeSuperblock(superblock: Superblock): Uint8Array<ArrayBuffer> {
  const page = SuperblockRecord.toBytes({
    ...superblock,
    magic: new Uint8Array(8),
    checksum: 0,
    version: 0,
    features: 0,
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
