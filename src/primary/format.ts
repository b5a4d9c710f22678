// Formatting a primary: everything is checked before anything is changed.
//
// Order, and what a crash leaves (src/primary/format_metadata.ts says why):
//   1. checks: options, primary, what is on it, replica reachable         nothing changed
//   2. superblocks with state `formatting`: UUID, replica root            a second format goes on
//   3. replica: device.json, then the empty Hyperfile                     with the same UUID
//   4. flush log and maps wiped, superblocks with state `formatted`       done
// A replica that can't be created puts the primary back as it was.
//
// `force` overrides what lies on the primary, never who uses it. Callers: the format command.

import { ReplicaError, usageError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { formatSize, isPowerOfTwo, MiB } from "../base/units.ts";
import { newUuid } from "../base/uuid.ts";
import type { ForeignContent } from "../format/foreign_signature.ts";
import type { DeviceCard } from "../format/device_card.ts";
import {
  checkRegionBytes,
  LOGICAL_BLOCK_BYTES_MAX,
  type PrimaryLayout,
  primaryLayout,
} from "../format/primary_layout.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import {
  REPLICA_ROOT_BYTES_MAX,
  type Superblock,
  type SuperblockVerdict,
} from "../format/superblock.ts";
import { BlockDevice } from "./block_device.ts";
import { findForeign, refuseForeign } from "./foreign.ts";
import { UnfinishedFormat } from "./format_metadata.ts";
import { refuseInUse } from "./in_use.ts";
import { readSuperblock } from "./metadata.ts";

export const REGION_BYTES_DEFAULT = 8 * MiB;
const BLOCK_BYTES_MAX = MiB;

export interface FormatOptions {
  readonly path: string;
  readonly deviceSizeBytes?: number;
  readonly regionBytes: number;
  readonly metaBlockBytes: number;
  readonly dataBlockBytes: number;
  /** Root URI; the replica is made at <root>/<uuid>. Omitted: a device without a replica. */
  readonly replicaRoot?: string;
  readonly force?: boolean;
}

/** The replica to create, as formatting sees it (src/replica/new_replica.ts). */
export interface ReplicaToCreate {
  /** Throws if it can't be created, as far as can be told without changing anything. */
  check(): Promise<void>;
  /** Creates it; for the same device this may be repeated. */
  create(): Promise<void>;
  /** Takes away what create() made. */
  undo(): Promise<void>;
}

export interface FormatContext {
  readonly clock: Clock;
  /** Throws a usage error when `uri` is no place for a replica. */
  replicaAt(uri: string, card: DeviceCard): ReplicaToCreate;
}

export interface FormatResult {
  readonly uuid: string;
  /** <root>/<uuid>; null without a replica. */
  readonly replicaUri: string | null;
  readonly layout: PrimaryLayout;
  /** An interrupted format was carried on. */
  readonly continued: boolean;
  /** What the operator should know: kept contents, an unfinished replica left behind. */
  readonly notes: readonly string[];
}

export async function formatPrimary(
  options: FormatOptions,
  context: FormatContext,
): Promise<FormatResult> {
  const replicaRoot = checkOptions(options);
  await refuseInUse(options.path);
  const disk = await BlockDevice.open(options.path, {
    access: "write",
    buffered: "fallback",
    exclusive: true,
  });
  try {
    return await formatDisk(disk, { ...options, replicaRoot }, context);
  } finally {
    disk.close();
  }
}

/** The line that the format command prints. */
export function formatLine({ uuid, replicaUri }: FormatResult): string {
  const line = `io-replica format success, device uuid: ${uuid}`;
  return replicaUri === null ? line : `${line}, replica_uri: ${replicaUri}`;
}

async function formatDisk(
  disk: BlockDevice,
  options: FormatOptions & { replicaRoot: string },
  { clock, replicaAt }: FormatContext,
): Promise<FormatResult> {
  const layout = layoutFor(disk, options);
  const verdict = await readSuperblock(disk);
  const unfinished = resumable(verdict, layout, options);
  if (!options.force && unfinished === null) refuseFormatted(disk, verdict);
  const contents = await findForeign(disk);
  if (!options.force) refuseForeign(contents, { name: disk.name, ...layout });

  const superblock = intentOf(layout, options, verdict, unfinished, clock.wallMs());
  const uri = options.replicaRoot === "" ? null : `${options.replicaRoot}/${superblock.uuid}`;
  const replica = uri === null ? null : replicaAt(uri, superblock);
  await replica?.check();
  const format = await UnfinishedFormat.begin(disk, layout, superblock);
  if (replica !== null) await createOrRollBack(replica, format);
  await format.finish(clock.wallMs());
  return {
    uuid: superblock.uuid,
    replicaUri: uri,
    layout,
    continued: unfinished !== null,
    notes: notesOn(contents, verdict, unfinished, { disk, layout }),
  };
}

/** Checks what needs no disk; returns the root without its trailing slashes. */
function checkOptions(options: FormatOptions): string {
  const sizes = {
    "--meta-block-size": options.metaBlockBytes,
    "--data-block-size": options.dataBlockBytes,
  };
  for (const [name, bytes] of Object.entries(sizes)) {
    if (!isPowerOfTwo(bytes) || bytes < PAGE_BYTES || bytes > BLOCK_BYTES_MAX) {
      throw usageError(`Cannot use ${name} ${bytes}: not a power of two from 4KiB to 1MiB`);
    }
  }
  const root = (options.replicaRoot ?? "").replace(/\/+$/, "");
  if (root === "" && options.replicaRoot !== undefined) {
    throw usageError(`Cannot use --replica "${options.replicaRoot}": it names no place`);
  }
  if (new TextEncoder().encode(root).length > REPLICA_ROOT_BYTES_MAX) {
    throw usageError(`Cannot use --replica: longer than ${REPLICA_ROOT_BYTES_MAX} bytes`);
  }
  if (root.includes("\0")) throw usageError("Cannot use --replica: it contains a NUL character");
  return root;
}

function layoutFor(disk: BlockDevice, options: FormatOptions): PrimaryLayout {
  const { logicalBlockBytes } = disk.geometry;
  if (logicalBlockBytes > LOGICAL_BLOCK_BYTES_MAX) {
    throw usageError(
      `Cannot format ${disk.name}: its logical blocks of ${logicalBlockBytes} bytes are above 4KiB`,
    );
  }
  checkRegionBytes(options.regionBytes, logicalBlockBytes);
  return primaryLayout({ ...options, primarySizeBytes: disk.sizeBytes });
}

/** The superblock of an interrupted format of the same kind, which this one carries on. */
function resumable(
  verdict: SuperblockVerdict,
  layout: PrimaryLayout,
  options: FormatOptions,
): Superblock | null {
  if (verdict.kind !== "valid" || verdict.superblock.state !== "formatting") return null;
  const { superblock } = verdict;
  const same = superblock.primarySizeBytes === layout.primarySizeBytes &&
    superblock.deviceSizeBytes === layout.deviceSizeBytes &&
    superblock.regionBytes === layout.regionBytes &&
    superblock.metaBlockBytes === options.metaBlockBytes &&
    superblock.dataBlockBytes === options.dataBlockBytes &&
    superblock.replicaRoot === options.replicaRoot;
  return same ? superblock : null;
}

function refuseFormatted(disk: BlockDevice, verdict: SuperblockVerdict): void {
  if (verdict.kind === "absent") return;
  const hint = "Use --force to format it anew; its old metadata is lost then.";
  if (verdict.kind !== "valid") {
    throw usageError(
      `Cannot format ${disk.name}: it holds damaged metadata of a device: ${verdict.reason}`,
      { hint },
    );
  }
  const { uuid, state } = verdict.superblock;
  // Nothing was ever stored under an unfinished format's identity.
  if (state === "formatting") return;
  throw usageError(`Cannot format ${disk.name}: it is already formatted as device ${uuid}`, {
    hint,
    context: { uuid, state },
  });
}

function intentOf(
  layout: PrimaryLayout,
  options: FormatOptions & { replicaRoot: string },
  verdict: SuperblockVerdict,
  unfinished: Superblock | null,
  nowMs: number,
): Superblock {
  return {
    sequence: verdict.kind === "valid" ? verdict.superblock.sequence + 1 : 1,
    uuid: unfinished?.uuid ?? newUuid(),
    primarySizeBytes: layout.primarySizeBytes,
    deviceSizeBytes: layout.deviceSizeBytes,
    regionBytes: layout.regionBytes,
    metaBlockBytes: options.metaBlockBytes,
    dataBlockBytes: options.dataBlockBytes,
    state: "formatting",
    createdMs: unfinished?.createdMs ?? nowMs,
    writtenMs: nowMs,
    claim: null,
    hasStagedMap: true,
    replicaRoot: options.replicaRoot,
  };
}

async function createOrRollBack(replica: ReplicaToCreate, format: UnfinishedFormat): Promise<void> {
  try {
    await replica.create();
  } catch (error) {
    try {
      await replica.undo();
    } catch (undoError) {
      // Part of a replica may stand: the primary keeps the intent, so that it is not forgotten.
      const cause = new AggregateError([error, undoError]);
      const { kind, message, context } = error instanceof ReplicaError
        ? error
        : new ReplicaError("unavailable", String(error));
      throw new ReplicaError(kind, message, {
        hint: "The format is unfinished. Run the same command again to carry it on.",
        cause,
        context,
      });
    }
    await format.rollBack();
    throw error;
  }
}

function notesOn(
  contents: readonly ForeignContent[],
  verdict: SuperblockVerdict,
  unfinished: Superblock | null,
  { disk, layout }: { disk: BlockDevice; layout: PrimaryLayout },
): string[] {
  const notes = contents.map(({ type, endBytes }) =>
    endBytes !== null && endBytes <= layout.deviceSizeBytes
      ? `the ${type} on it (${formatSize(endBytes)}) is the device's content now`
      : `the ${type} on it is the device's content now, but may have lost its end`
  );
  if (verdict.kind === "valid" && verdict.superblock.state === "formatting" && !unfinished) {
    const { replicaRoot, uuid } = verdict.superblock;
    if (replicaRoot !== "") {
      notes.push(`an interrupted format may have left ${replicaRoot}/${uuid}: it can be deleted`);
    }
  }
  if (disk.geometry.physicalBlockBytes > PAGE_BYTES && disk.geometry.kind === "block device") {
    notes.push(
      `physical blocks of ${
        formatSize(disk.geometry.physicalBlockBytes)
      }: a power cut may damage ` +
        "both superblock copies at once",
    );
  }
  return notes;
}
