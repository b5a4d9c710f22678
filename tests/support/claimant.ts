// A primary without a disk, for tests of claims: what its superblock and flush log would hold, and the
// life of its daemon - claim, writer, commits, crash - over any object store.

import { newUuid } from "../../src/base/uuid.ts";
import { type DeviceCard, encodeDeviceCard } from "../../src/format/device_card.ts";
import type { PrimaryClaim } from "../../src/format/superblock.ts";
import { type ClaimOptions, ReplicaClaim } from "../../src/replica/claim.ts";
import { HyperfileWriter } from "../../src/replica/hyperfile_writer.ts";
import { createHyperfile } from "../../src/replica/create_hyperfile.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";
import type { StagedTail } from "../../src/replica/staged_tail.ts";

export const CARD: DeviceCard = {
  uuid: "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d",
  deviceSizeBytes: 1 << 20,
  regionBytes: 1 << 16,
  metaBlockBytes: 4096,
  dataBlockBytes: 4096,
  createdMs: 1_700_000_000_000,
};

/** What format leaves behind. */
export async function formatReplica(store: ObjectStore): Promise<void> {
  await store.put("device.json", [encodeDeviceCard(CARD)]);
  await createHyperfile(store, CARD);
}

export class Claimant {
  readonly name: string;
  /** The superblock's claim. */
  claim: PrimaryClaim | null = null;
  /** Processes on this host that are seen alive, by pid. */
  readonly seen = new Set<number>();
  #pid = 0;
  #nowMs = 1_700_000_000_000;

  constructor(name: string) {
    this.name = name;
  }

  /** Another primary with the same metadata, as a copy of the disk would be. */
  copy(name: string): Claimant {
    const copy = new Claimant(name);
    copy.claim = this.claim;
    copy.#pid = 100;
    return copy;
  }

  options(more: Partial<ClaimOptions> = {}): ClaimOptions {
    const startedMs = ++this.#nowMs;
    const pid = ++this.#pid;
    return {
      device: CARD,
      memory: this.memory,
      takeOver: false,
      self: { host: this.name, pid },
      holderRuns: (holder) => holder.pid !== pid && this.seen.has(holder.pid),
      clock: { wallMs: () => startedMs },
      newId: newUuid,
      ...more,
    };
  }

  get memory() {
    // deno-lint-ignore no-this-alias -- the getter below is the object's own
    const owner = this;
    return {
      get claim() {
        return owner.claim;
      },
      remember(claim: PrimaryClaim) {
        owner.claim = claim;
        return Promise.resolve();
      },
    };
  }

  /** Claims the replica as a new process. */
  take(store: ObjectStore, more: Partial<ClaimOptions> = {}): Promise<ReplicaClaim> {
    return ReplicaClaim.take(store, this.options(more));
  }

  /** Claims, opens the writer and settles. */
  async attach(
    store: ObjectStore,
    more: Partial<ClaimOptions> & { adopt?: boolean; staged?: StagedTail | null } = {},
  ): Promise<{ claim: ReplicaClaim; writer: HyperfileWriter }> {
    const { adopt = false, staged = null, ...options } = more;
    const claim = await this.take(store, options);
    const adoptEpoch = adopt ? this.claim?.heldEpoch ?? 0 : null;
    const writer = await HyperfileWriter.openClaimed(store, { claim, adoptEpoch, staged });
    await claim.settle();
    return { claim, writer };
  }
}
