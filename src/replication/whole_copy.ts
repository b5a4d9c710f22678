// Which copy of the whole device is under way, told from the modes that replication goes through. Regions
// that an earlier one has copied are to be copied again, so each has a number of its own.
//
// Pure. Caller: replicator/room.ts.

import type { Mode } from "./mode.ts";

export class WholeCopies {
  #mode: Mode = "logging";
  #begun = 0;
  #current = 0;

  /** The number of the copy that is under way; 0: none is. A pause does not end it. */
  get current(): number {
    return this.#current;
  }

  /** To be called with every mode, also with one that has not changed. */
  modeIs(mode: Mode): void {
    if (mode === this.#mode) return;
    this.#mode = mode;
    if (mode === "forward-full") this.#current = ++this.#begun;
    if (mode === "logging") this.#current = 0;
  }
}
