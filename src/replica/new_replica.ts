// The replica of a device that is being formatted: first the card (device.json), which says whose
// this root is, then the empty Hyperfile. Both are put under the condition that nothing is there.
//
// Creating may be repeated for the same device, so that a format that was cut off can go on: a card
// that is equal and the inode that the same creation makes are taken over. Anything else at the root
// is somebody's replica and is refused.
//
// Callers: the format command, as the ReplicaToCreate that src/primary/format.ts wants.

import { ReplicaError } from "../base/errors.ts";
import {
  decodeDeviceCard,
  DEVICE_CARD_BYTES_MAX,
  DEVICE_CARD_KEY,
  type DeviceCard,
  encodeDeviceCard,
  sameDevice,
} from "../format/device_card.ts";
import { INODE_KEY } from "../format/inode.ts";
import { probeStore } from "./conditional_puts.ts";
import { createHyperfile } from "./create_hyperfile.ts";
import type { ObjectStore } from "./object_store.ts";
import { UnsafeStore } from "./unsafe_store.ts";

export interface NewReplicaOptions {
  readonly card: DeviceCard;
  /** The operator accepted a store that does not honour conditions. */
  readonly acceptUnsafeStore?: boolean;
  /** Aborted: check() and what create() asks first end with `closed`. */
  readonly signal?: AbortSignal;
  /** Opens the replica's root, which may be new, for writing. */
  openStore(): Promise<ObjectStore>;
}

export class NewReplica {
  readonly #options: NewReplicaOptions;
  /** The store was asked, ignores conditions, and was accepted all the same. */
  #unsafe = false;
  /** Objects that this run may have put: undo() takes them away again. */
  #made: string[] = [];

  constructor(options: NewReplicaOptions) {
    this.#options = options;
  }

  /** Makes sure that objects can be put there, under conditions; leaves no object behind. */
  check(): Promise<void> {
    return this.#withStore(async (store) => {
      const trouble = await probeStore(store, { signal: this.#options.signal });
      if (trouble !== null && !this.#options.acceptUnsafeStore) throw trouble;
      this.#unsafe = trouble !== null;
    });
  }

  create(): Promise<void> {
    return this.#withStore(async (store) => {
      await this.#putCard(store);
      // An inode that was there already is not ours to remove, whatever it turns out to be.
      if (await store.head(INODE_KEY) === null) this.#made.push(INODE_KEY);
      await createHyperfile(store, this.#options.card);
    });
  }

  /** Removes what this run put; objects that were there before stay. */
  undo(): Promise<void> {
    if (this.#made.length === 0) return Promise.resolve();
    return this.#withStore(async (store) => {
      for (const key of this.#made.toReversed()) await store.delete(key);
      this.#made = [];
    });
  }

  async #withStore(use: (store: ObjectStore) => Promise<void>): Promise<void> {
    const store = await this.#options.openStore();
    try {
      await use(this.#unsafe ? new UnsafeStore(store) : store);
    } finally {
      await store.close();
    }
  }

  async #putCard(store: ObjectStore): Promise<void> {
    if (await this.#cardStands(store)) return;
    this.#made.push(DEVICE_CARD_KEY);
    const card = encodeDeviceCard(this.#options.card);
    const { signal } = this.#options;
    const put = await store.put(DEVICE_CARD_KEY, [card], { signal, condition: { absent: true } });
    // Refused: somebody was faster, or it is the answer to our own put, which was lost.
    if (!put.stored && !await this.#cardStands(store)) throw foreignReplica(store);
  }

  async #cardStands(store: ObjectStore): Promise<boolean> {
    const range = { offset: 0, length: DEVICE_CARD_BYTES_MAX + 1 };
    const body = await store.get(DEVICE_CARD_KEY, { range, signal: this.#options.signal });
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
