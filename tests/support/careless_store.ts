// A store without working conditional writes: it overwrites whatever the condition says, or knows only
// one of the two, or overlooks them in uploads in parts only.

import type { PutResult, StorePutOptions } from "../../src/replica/object_store.ts";
import { MemoryStore } from "./memory_store.ts";

export interface Carelessness {
  /** The conditions that are ignored. */
  readonly ignored: readonly ("absent" | "etag")[];
  /** Only where the body goes in parts. */
  readonly inPartsOnly?: boolean;
}

export class CarelessStore extends MemoryStore {
  readonly #carelessness: Carelessness;

  /** Stores that share `objects` are clients of one replica. */
  constructor(carelessness: Carelessness, objects?: MemoryStore["objects"]) {
    super({ objects });
    this.#carelessness = carelessness;
  }

  override put(
    key: string,
    chunks: readonly Uint8Array[],
    options: StorePutOptions = {},
  ): Promise<PutResult> {
    const { ignored, inPartsOnly = false } = this.#carelessness;
    const { condition, inParts = false } = options;
    const overwrites = condition !== undefined && ignored.some((name) => name in condition) &&
      (inParts || !inPartsOnly);
    return super.put(key, chunks, overwrites ? {} : options);
  }
}
