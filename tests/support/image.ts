// Whole images out of replicas.

import { HyperfileReader, type ReaderOptions } from "../../src/replica/hyperfile_reader.ts";
import type { ObjectStore } from "../../src/replica/object_store.ts";

/** The bytes of a small replica at a checkpoint (0: the head). */
export async function readImage(
  store: ObjectStore,
  cno = 0,
  options: ReaderOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = await HyperfileReader.open(store, { ...options, cno });
  const image = new Uint8Array(reader.sizeBytes);
  await reader.read(0, image);
  return image;
}

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
