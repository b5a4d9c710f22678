// The replica of a device that is being formatted: first the card (device.json), which says whose
// this root is, then the empty Hyperfile. Both are put under the condition that nothing is there.
//
// Creating may be repeated for the same device, so that a format that was cut off can go on: a card
// that is equal and an inode without a checkpoint are taken over. Anything else at the root is
// somebody's replica and is refused.
//
// Callers: the format command, through the NewReplica that src/primary/format.ts wants.

import { ReplicaError, usageError } from "../base/errors.ts";
import {
  decodeDeviceCard,
  DEVICE_CARD_KEY,
  type DeviceCard,
  encodeDeviceCard,
  sameDevice,
} from "../format/device_card.ts";
import type { ObjectStore } from "./object_store.ts";

const INODE_KEY = "inode";

export interface NewReplicaOptions {
  readonly card: DeviceCard;
  /** Opens the replica's root, for writing. */
  openStore(): Promise<ObjectStore>;
  /** Makes sure, without changing anything, that the root can be written to. */
  probe(): Promise<void>;
  /** Creates the empty Hyperfile, or accepts the empty one that is there. */
  createHyperfile(store: ObjectStore): Promise<void>;
}

export class NewReplica {
  readonly #options: NewReplicaOptions;
  /** Objects that this run may have put: undo() takes them away again. */
  #made: string[] = [];

  constructor(options: NewReplicaOptions) {
    this.#options = options;
  }

  check(): Promise<void> {
    return this.#options.probe();
  }

  async create(): Promise<void> {
    const store = await this.#options.openStore();
    try {
      await this.#putCard(store);
      // An inode that was there already is not ours to remove, whatever it turns out to be.
      if (await store.head(INODE_KEY) === null) this.#made.push(INODE_KEY);
      await this.#options.createHyperfile(store);
    } finally {
      await store.close();
    }
  }

  /** Removes what this run put; objects that were there before stay. */
  async undo(): Promise<void> {
    if (this.#made.length === 0) return;
    const store = await this.#options.openStore();
    try {
      for (const key of this.#made.toReversed()) await store.delete(key);
    } finally {
      await store.close();
    }
    this.#made = [];
  }

  async #putCard(store: ObjectStore): Promise<void> {
    const bytes = encodeDeviceCard(this.#options.card);
    const absent = { condition: { absent: true } } as const;
    if (await this.#cardStands(store)) return;
    this.#made.push(DEVICE_CARD_KEY);
    if (!(await store.put(DEVICE_CARD_KEY, [bytes], absent)).stored) {
      // Lost a race, or the answer to our own put.
      if (!await this.#cardStands(store)) throw foreignReplica(store);
    }
    // A store that ignores conditions would let two writers overwrite each other (promise 7).
    if ((await store.put(DEVICE_CARD_KEY, [bytes], absent)).stored) {
      throw usageError(`Cannot use ${store.uri}: the store ignores conditional writes`, {
        hint: "Use a store that honours If-None-Match and If-Match.",
      });
    }
  }

  async #cardStands(store: ObjectStore): Promise<boolean> {
    const body = await store.get(DEVICE_CARD_KEY);
    if (body === null) return false;
    if (sameDevice(decodeDeviceCard(body.bytes, DEVICE_CARD_KEY), this.#options.card)) return true;
    this.#made = [];
    throw foreignReplica(store);
  }
}

function foreignReplica(store: ObjectStore): ReplicaError {
  return new ReplicaError("fenced", `Cannot create a replica at ${store.uri}: it is another's`, {
    hint: "Use another root URI.",
  });
}
