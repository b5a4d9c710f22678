// A disk in memory that fails in the ways real ones do. Faults it can show, by the contract of
// src/primary/disk.ts:
// - power cut at any operation: what was written since the last flush survives sector by sector, as
//   the given chooser decides (all, none, any subset);
// - lost write: acknowledged, flushed, and never on the medium;
// - error: an operation fails; its bytes may have landed wholly, in part or not at all.
// Reads always see the newest writes, as those of a page cache or a drive's cache do.

import { ReplicaError } from "../../src/base/errors.ts";
import { SECTOR } from "../../src/base/units.ts";
import { PAGE_BYTES } from "../../src/format/sealed_page.ts";
import type { Disk } from "../../src/primary/disk.ts";
import { assert } from "./assert.ts";

/** Thrown by the operation at which the power is cut, and by all later ones. */
export class PowerCut extends Error {
  override name = "PowerCut";
}

export type Fault =
  /** The power goes before this operation takes effect (a write: while it does). */
  | { readonly kind: "power cut"; readonly atOperation: number }
  | { readonly kind: "lost write"; readonly atOperation: number }
  | { readonly kind: "write error"; readonly atOperation: number; readonly lands: boolean }
  | { readonly kind: "flush error"; readonly atOperation: number }
  | { readonly kind: "unreadable"; readonly offsetBytes: number };

/** Says whether a sector that was not flushed reached the medium. */
export type SectorChooser = (sectorOffsetBytes: number) => boolean;

export class FailingDisk implements Disk {
  readonly name = "failing-disk";
  readonly sizeBytes: number;
  /** Writes and flushes so far; faults are placed by this number, from 0. */
  operations = 0;
  faults: Fault[] = [];
  /** Sectors as read, and those that a power cut leaves, by page offset. */
  #seen: Map<number, Uint8Array>;
  #durable: Map<number, Uint8Array>;
  #dead = false;

  constructor(sizeBytes: number, pages: ReadonlyMap<number, Uint8Array> = new Map()) {
    this.sizeBytes = sizeBytes;
    this.#seen = copyPages(pages);
    this.#durable = copyPages(pages);
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#checkRange(offsetBytes, lengthBytes);
    if (this.#dead) return Promise.reject(new PowerCut());
    const out = new Uint8Array(lengthBytes);
    for (let at = 0; at < lengthBytes; at += PAGE_BYTES) {
      const offset = offsetBytes + at;
      if (this.faults.some((f) => f.kind === "unreadable" && f.offsetBytes === offset)) {
        return Promise.reject(ioError("read"));
      }
      out.set(this.#seen.get(offset) ?? new Uint8Array(PAGE_BYTES), at);
    }
    return Promise.resolve(out);
  }

  // deno-lint-ignore require-await -- async, so that faults reject instead of throwing
  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    this.#checkRange(offsetBytes, bytes.length);
    const fault = this.#next();
    if (fault?.kind === "lost write") return;
    if (fault?.kind !== "write error" || fault.lands) {
      for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
        this.#seen.set(offsetBytes + at, bytes.slice(at, at + PAGE_BYTES));
      }
    }
    if (fault?.kind === "write error") throw ioError("write");
    if (this.#dead) throw new PowerCut();
  }

  // deno-lint-ignore require-await -- async, so that faults reject instead of throwing
  async flush(): Promise<void> {
    const fault = this.#next();
    if (fault?.kind === "flush error") throw ioError("flush");
    if (this.#dead) throw new PowerCut();
    this.#durable = copyPages(this.#seen);
  }

  /** The disk after the power came back. */
  survivor(keeps: SectorChooser): FailingDisk {
    const pages = copyPages(this.#durable);
    for (const [offset, page] of this.#seen) {
      const kept = pages.get(offset) ?? new Uint8Array(PAGE_BYTES);
      pages.set(offset, kept);
      for (let at = 0; at < PAGE_BYTES; at += SECTOR) {
        const sector = page.subarray(at, at + SECTOR);
        const changed = sector.some((byte, i) => byte !== kept[at + i]);
        if (changed && keeps(offset + at)) kept.set(sector, at);
      }
    }
    return new FailingDisk(this.sizeBytes, pages);
  }

  /** The pages as read now. */
  pages(): Map<number, Uint8Array> {
    return copyPages(this.#seen);
  }

  #next(): Fault | undefined {
    if (this.#dead) throw new PowerCut();
    const operation = this.operations++;
    const fault = this.faults.find((f) => "atOperation" in f && f.atOperation === operation);
    if (fault?.kind === "power cut") this.#dead = true;
    return fault;
  }

  #checkRange(offsetBytes: number, lengthBytes: number): void {
    assert(offsetBytes % PAGE_BYTES === 0 && lengthBytes % PAGE_BYTES === 0, "I/O of whole pages");
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, "I/O inside the disk");
  }
}

function copyPages(pages: ReadonlyMap<number, Uint8Array>): Map<number, Uint8Array> {
  return new Map([...pages].map(([offset, page]) => [offset, page.slice()]));
}

function ioError(call: string): ReplicaError {
  return new ReplicaError("kernel", `Cannot ${call}: EIO`, { context: { errno: "EIO" } });
}

/** Runs `body` until it ends or the power is cut; other failures pass through. */
export async function untilPowerCut(body: () => Promise<unknown>): Promise<"done" | "cut"> {
  try {
    await body();
    return "done";
  } catch (error) {
    if (error instanceof PowerCut) return "cut";
    throw error;
  }
}

/** What a cut may leave of unflushed sectors: nothing, everything, halves, and seeded subsets. */
export function sectorChoosers(subsets: number): [string, SectorChooser][] {
  const choosers: [string, SectorChooser][] = [
    ["nothing lands", () => false],
    ["everything lands", () => true],
    ["first sectors land", (offset) => offset % PAGE_BYTES < PAGE_BYTES / 8],
    ["last sectors land", (offset) => offset % PAGE_BYTES >= PAGE_BYTES / 8],
  ];
  for (let seed = 1; seed <= subsets; seed++) {
    choosers.push([`subset ${seed}`, (offset) => mixed(offset / SECTOR, seed) % 2 === 1]);
  }
  return choosers;
}

/** A small integer hash: the same choice for the same sector and seed in every run. */
function mixed(sector: number, seed: number): number {
  let hash = Math.imul(sector ^ Math.imul(seed, 0x9e3779b1), 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
