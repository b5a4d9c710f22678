// What the simulated drive can't do: writes of metadata and flushes that fail, reads that fail once, and
// sectors that can't be read for some time, for some lives of the daemon, or until they are written anew.

import type { Prng } from "../support/prng.ts";
import type { Process, Scheduler } from "./scheduler.ts";

/** Sectors of the device that can't be read. */
export interface Defect {
  readonly startSector: number;
  readonly sectors: number;
  readonly fromMs: number;
  /** Until this time or this life of the daemon, whichever comes first. */
  readonly untilMs: number;
  readonly untilLife: number;
}

/** How often a drive fails, but for what the guest changes: one I/O in so many, 0: none. */
export interface DriveTemper {
  readonly metadataFailOneIn: number;
  readonly flushFailOneIn: number;
  /** A flush that fails takes with it what it should have kept; else the next one does its work. */
  readonly flushLoses: boolean;
  /** Of a loss every opening hears once, as of Linux's page cache; else only who asked, as of a drive's cache. */
  readonly lossIsTold: boolean;
  readonly readFailOneIn: number;
  readonly defects: readonly Defect[];
}

export const SOUND_DRIVE: DriveTemper = {
  metadataFailOneIn: 0,
  flushFailOneIn: 0,
  flushLoses: false,
  lossIsTold: true,
  readFailOneIn: 0,
  defects: [],
};

/** Reads of a block that fail before the program may go on without it. */
const READS_BEFORE_ASIDE = 3;

export class Defects {
  /** While false nothing fails. */
  faulty = false;
  /** I/Os of whatever kind that were reported as failed. */
  reported = 0;
  /** The program has heard of a flush of its own that failed, and its guest has not. */
  untold = false;
  /** Which life of the daemon it is. */
  life = 0;
  readonly #temper: DriveTemper;
  readonly #scheduler: Scheduler;
  readonly #random: Prng;
  readonly #sectorsPerBlock: number;
  readonly #mended = new Set<number>();
  /** Failed reads of each block, by process. */
  readonly #failedReads = new Map<Process, Map<number, number>>();

  constructor(
    temper: DriveTemper,
    options: { scheduler: Scheduler; random: Prng; sectorsPerBlock: number },
  ) {
    this.#temper = temper;
    this.#scheduler = options.scheduler;
    this.#random = options.random;
    this.#sectorsPerBlock = options.sectorsPerBlock;
  }

  metadataWriteFails(): boolean {
    return this.#draw(this.#temper.metadataFailOneIn);
  }

  flushFails(): boolean {
    return this.#draw(this.#temper.flushFailOneIn);
  }

  get flushLoses(): boolean {
    return this.#temper.flushLoses;
  }

  get lossIsTold(): boolean {
    return this.#temper.lossIsTold;
  }

  readFails(process: Process, startSector: number, sectors: number): boolean {
    const isBad = this.faulty && this.#hasDefect(startSector, sectors);
    const fails = this.#draw(this.#temper.readFailOneIn) || isBad;
    if (fails) this.#note(process, startSector, sectors);
    return fails;
  }

  /** A sector was written: from now on it can be read. */
  mend(sector: number): void {
    if (this.#temper.defects.length > 0) this.#mended.add(sector);
  }

  /**
   * Whether `process` has met so many failed reads of the sector's block that its checkpoints may show
   * what the replica had there before.
   */
  mayLack(process: Process, sector: number): boolean {
    const block = Math.floor(sector / this.#sectorsPerBlock);
    return (this.#failedReads.get(process)?.get(block) ?? 0) >= READS_BEFORE_ASIDE;
  }

  #draw(oneIn: number): boolean {
    return this.faulty && oneIn > 0 && this.#random.oneIn(oneIn);
  }

  #hasDefect(startSector: number, sectors: number): boolean {
    const { nowMs } = this.#scheduler;
    const end = startSector + sectors;
    for (const defect of this.#temper.defects) {
      if (nowMs < defect.fromMs || nowMs >= defect.untilMs) continue;
      if (this.life >= defect.untilLife) continue;
      const last = Math.min(end, defect.startSector + defect.sectors);
      for (let sector = Math.max(startSector, defect.startSector); sector < last; sector++) {
        if (!this.#mended.has(sector)) return true;
      }
    }
    return false;
  }

  #note(process: Process, startSector: number, sectors: number): void {
    let counts = this.#failedReads.get(process);
    if (counts === undefined) this.#failedReads.set(process, counts = new Map());
    const last = Math.floor((startSector + sectors - 1) / this.#sectorsPerBlock);
    for (let block = Math.floor(startSector / this.#sectorsPerBlock); block <= last; block++) {
      counts.set(block, (counts.get(block) ?? 0) + 1);
    }
  }
}
