// A queue of an IntentWorld: its requests, and I/O that completes in any order. It keeps no data, only
// what became of every change.

import { SECTOR } from "../../src/base/units.ts";
import type { ReplicaHandler } from "../../src/queue/replica_handler.ts";
import type { RequestQueue } from "../../src/queue/request_queue.ts";
import { assert, assertEquals } from "./assert.ts";
import type { MapDisk } from "./map_disk.ts";
import type { Prng } from "./prng.ts";

export const UNIT = 4096;
export const SECTORS_PER_UNIT = UNIT / SECTOR;

/** A change of the primary, from its submission on. */
export interface Change {
  readonly firstRegion: number;
  readonly lastRegion: number;
  /** On the primary, and then on its stable storage. */
  landed: boolean;
  flushed: boolean;
  readonly startUnit: number;
  readonly units: number;
  /** The ring position that covers it; null: it has none yet. */
  position: number | null;
  /** It went past the ring: its chunks are stale, or were. */
  marked: boolean;
  published: boolean;
}

interface Io {
  readonly tag: number;
  readonly stage: number;
  readonly settle: () => number;
}

export interface Request {
  readonly op: number;
  readonly startUnit: number;
  readonly units: number;
}

/** What the queues of a world share. */
export interface Ground {
  readonly random: Prng;
  readonly disk: MapDisk;
  readonly changes: Set<Change>;
  readonly regionSectors: number;
}

/** A queue's requests and I/O, which completes in any order. */
export class WorldQueue implements RequestQueue {
  readonly offsetBytes: Float64Array;
  readonly inFlight: Io[] = [];
  errors = 0;
  readonly #ground: Ground;
  readonly #requests: (Request | null)[];
  readonly #changes: (Change | null)[];

  constructor(ground: Ground, depth: number) {
    this.#ground = ground;
    this.offsetBytes = new Float64Array(depth);
    this.#requests = Array(depth).fill(null);
    this.#changes = Array(depth).fill(null);
  }

  get busy(): boolean {
    return this.#requests.some((request) => request !== null);
  }

  issue(request: Request, handler: ReplicaHandler): void {
    const tag = this.#requests.indexOf(null);
    if (tag < 0) return;
    this.#requests[tag] = request;
    handler.start(tag);
  }

  step(handler: ReplicaHandler): void {
    if (this.inFlight.length === 0) return;
    const [io] = this.inFlight.splice(this.#ground.random.below(this.inFlight.length), 1);
    handler.complete(io.tag, io.stage, io.settle());
  }

  op(tag: number): number {
    return this.#request(tag).op;
  }

  flags(): number {
    return 0;
  }

  locate(tag: number): void {
    this.offsetBytes[tag] = this.#request(tag).startUnit * UNIT;
  }

  sectors(tag: number): number {
    return this.#request(tag).units * SECTORS_PER_UNIT;
  }

  readPrimary(tag: number, stage: number, _skip: number, length: number): void {
    this.inFlight.push({ tag, stage, settle: () => length });
  }

  writePrimary(tag: number, stage: number, length: number): void {
    const { startUnit } = this.#request(tag);
    assertEquals(this.offsetBytes[tag], startUnit * UNIT, "a change goes where it belongs");
    this.#change(tag, stage, length);
  }

  zeroPrimary(tag: number, stage: number): void {
    this.#change(tag, stage, 0);
  }

  flushPrimary(tag: number, stage: number): void {
    const landed = [...this.#ground.changes].filter((change) => change.landed);
    this.inFlight.push({
      tag,
      stage,
      settle() {
        for (const change of landed) change.flushed = true;
        return 0;
      },
    });
  }

  writePage(tag: number, stage: number, page: number): void {
    const settle = this.#ground.disk.writeDurably(this.offsetBytes[tag], page);
    this.inFlight.push({ tag, stage, settle });
  }

  finish(tag: number, result: number): void {
    assert(this.#requests[tag] !== null, "a request is answered once");
    if (result < 0) this.errors++;
    this.#requests[tag] = null;
    this.#changes[tag] = null;
  }

  /** An entry of a change of this queue stands in the ring before `end`. */
  captured(startUnit: number, units: number, end: number): void {
    const change = this.#changeOf(startUnit, units);
    if (change !== null) change.position = end;
  }

  /** A change of this queue went past the ring. */
  marked(startUnit: number, units: number): void {
    const change = this.#changeOf(startUnit, units);
    if (change !== null) change.marked = true;
  }

  /** The change that has the interval lock of these blocks: there is one at a time. */
  #changeOf(startUnit: number, units: number): Change | null {
    return this.#changes.find((change) =>
      change?.landed && change.startUnit === startUnit && change.units === units
    ) ?? null;
  }

  #change(tag: number, stage: number, result: number): void {
    const { startUnit, units } = this.#request(tag);
    const { regionSectors, changes } = this.#ground;
    const change: Change = {
      firstRegion: Math.floor(startUnit * SECTORS_PER_UNIT / regionSectors),
      lastRegion: Math.floor(((startUnit + units) * SECTORS_PER_UNIT - 1) / regionSectors),
      landed: false,
      flushed: false,
      startUnit,
      units,
      position: null,
      marked: false,
      published: false,
    };
    changes.add(change);
    this.#changes[tag] = change;
    this.inFlight.push({
      tag,
      stage,
      settle() {
        change.landed = true;
        return result;
      },
    });
  }

  #request(tag: number): Request {
    const request = this.#requests[tag];
    assert(request !== null, "only a tag with a request is looked at");
    return request;
  }
}
