// Which failures of a start or a stop the world is to blame for, and not the program.

import { ReplicaError } from "../../src/base/errors.ts";
import type { SimDrive } from "./sim_drive.ts";
import type { SimService } from "./sim_store.ts";

export class Excuses {
  readonly #drive: SimDrive;
  readonly #service: SimService;
  #reported = 0;
  #conflicts = 0;

  constructor(drive: SimDrive, service: SimService) {
    this.#drive = drive;
    this.#service = service;
  }

  /** A daemon starts: what went wrong before excuses nothing of it. */
  begin(): void {
    this.#reported = this.#drive.defects.reported;
    this.#conflicts = this.#service.conflicts;
  }

  has(error: unknown): boolean {
    if (!(error instanceof ReplicaError)) return false;
    if (error.kind === "kernel") return this.#drive.defects.reported > this.#reported;
    // A start takes a store at its word that refuses what it must not, three times in a row.
    if (error.context.refuses === true) return this.#service.conflicts > this.#conflicts;
    return error.kind === "unavailable" || this.#service.garbled > 0;
  }
}
