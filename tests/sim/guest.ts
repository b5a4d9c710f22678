// The guest: random requests of every kind and alignment on every queue, some of them overlapping, and
// what it was told about them. It survives the daemon; requests that a crash left open are never
// answered.

import { SECTOR } from "../../src/base/units.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_F_NOUNMAP,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_READ,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../../src/ublk/uapi.ts";
import type { Prng } from "../support/prng.ts";
import type { SimOp } from "./history.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import type { SimDrive } from "./sim_drive.ts";
import type { SimQueue } from "./sim_queue.ts";
import { writeStamps } from "./stamp.ts";
import { type Trace, violated } from "./trace.ts";

const SECTORS_PER_BLOCK = 8;
const REQUESTS_PER_LIFE = 600;

/** What a guest likes to do; of a hundred requests. */
export interface Habits {
  readonly writes: number;
  readonly flushes: number;
  readonly discards: number;
  readonly zeroes: number;
  /** One write in so many is FUA. */
  readonly fuaOneIn: number;
  /** One request in so many is not aligned to blocks; 0: none. */
  readonly unalignedOneIn: number;
  /** Blocks of the device that most requests go to. */
  readonly hotBlocks: number;
  readonly thinkMs: number;
  /** Greatest write in blocks; zeroings go up to the whole device. */
  readonly ioBlocks: number;
}

export interface GuestOptions {
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly drive: SimDrive;
  readonly habits: Habits;
}

export class Guest {
  readonly #options: GuestOptions;
  readonly #process: Process;
  #queues: readonly SimQueue[] = [];
  #working = false;
  /** Requests that it still sends in this life: the rest of its time it is idle. */
  #budget = 0;
  /** Counts issues and answers: the time of the history. */
  #tick = 0;
  #lastId: number;
  /** Requests answered with success. */
  answered = 0;

  /** `process` never dies; `firstId`: stamps up to it are taken. */
  constructor(options: GuestOptions, process: Process, firstId: number) {
    this.#options = options;
    this.#process = process;
    this.#lastId = firstId;
  }

  get tick(): number {
    return this.#tick;
  }

  get busy(): boolean {
    return this.#queues.some((queue) => queue.busy);
  }

  /** The device is there: work until pause(). */
  work(queues: readonly SimQueue[]): void {
    this.#queues = queues;
    this.#working = true;
    this.#budget = REQUESTS_PER_LIFE;
    for (const queue of queues) this.#think(queue);
  }

  /** Sends nothing more; what was sent may still be answered. */
  pause(): void {
    this.#working = false;
  }

  #think(queue: SimQueue): void {
    const { scheduler, random, habits } = this.#options;
    const pause = random.oneIn(50) ? 40 : 1;
    const delayMs = habits.thinkMs * pause * random.below(2000) / 1000;
    scheduler.after(delayMs, this.#process, () => {
      if (!this.#working || !this.#queues.includes(queue)) return;
      // A burst now and then: several requests in flight at once.
      for (let burst = random.oneIn(4) ? 1 + random.below(4) : 1; burst > 0; burst--) {
        const tag = queue.freeTag();
        if (tag < 0 || !this.#working) continue;
        this.#issue(queue, tag);
        this.#budget--;
      }
      if (this.#budget > 0) this.#think(queue);
    });
  }

  #issue(queue: SimQueue, tag: number): void {
    const { random, habits, trace } = this.#options;
    const draw = random.below(100);
    const issuedAt = ++this.#tick;
    if (draw < habits.flushes) {
      trace.add("flush");
      this.#send(queue, tag, { op: UBLK_IO_OP_FLUSH, flags: 0, change: null, issuedAt });
      return;
    }
    const kind = draw - habits.flushes;
    const change = habits.discards + habits.zeroes + habits.writes;
    if (kind >= change) {
      const [startSector, sectors] = this.#range(habits.ioBlocks);
      const op = UBLK_IO_OP_READ;
      this.#send(queue, tag, { op, flags: 0, change: null, issuedAt, startSector, sectors });
      return;
    }
    const zeroing = kind < habits.discards + habits.zeroes;
    const blocks = !zeroing
      ? habits.ioBlocks
      : random.oneIn(6)
      ? this.#deviceBlocks
      : 2 * habits.ioBlocks;
    const [startSector, sectors] = this.#range(Math.min(blocks, this.#deviceBlocks));
    const op: SimOp = {
      id: ++this.#lastId,
      kind: zeroing ? "zero" : "write",
      startSector,
      sectors,
      issuedAt,
      answeredAt: Infinity,
    };
    trace.add(op.kind, op.id, startSector, sectors);
    const code = zeroing
      ? (kind < habits.discards ? UBLK_IO_OP_DISCARD : UBLK_IO_OP_WRITE_ZEROES)
      : UBLK_IO_OP_WRITE;
    const fua = !zeroing && random.oneIn(habits.fuaOneIn) ? UBLK_IO_F_FUA : 0;
    const keep = zeroing && random.oneIn(2) ? UBLK_IO_F_NOUNMAP : 0;
    if (!zeroing) {
      writeStamps(queue.buffer(tag).subarray(0, sectors * SECTOR), op.id, startSector);
    }
    this.#send(queue, tag, { op: code, flags: fua | keep, change: op, issuedAt });
  }

  #send(
    queue: SimQueue,
    tag: number,
    request: {
      op: number;
      flags: number;
      change: SimOp | null;
      issuedAt: number;
      startSector?: number;
      sectors?: number;
    },
  ): void {
    const { op, flags, change } = request;
    const startSector = change?.startSector ?? request.startSector ?? 0;
    const sectors = change?.sectors ?? request.sectors ?? 0;
    const { defects } = this.#options.drive;
    const sent = { ...request, reportedBefore: defects.reported };
    queue.issue(tag, {
      op,
      flags,
      startSector,
      sectors,
      change,
      answer: (result) => this.#answered(sent, result),
    });
  }

  #answered(
    { op, flags, change, issuedAt, reportedBefore }: {
      op: number;
      flags: number;
      change: SimOp | null;
      issuedAt: number;
      /** Failures that the drive had reported before it was sent. */
      reportedBefore: number;
    },
    result: number,
  ): void {
    const { drive, trace } = this.#options;
    const at = ++this.#tick;
    const { defects } = drive;
    const isFlush = op === UBLK_IO_OP_FLUSH;
    if (result < 0) {
      trace.add("failed", change?.id ?? 0, result);
      const hears = isFlush && defects.untold;
      if (isFlush) defects.untold = false;
      if (!hears && defects.reported === reportedBefore) {
        violated(`promise 1: a request failed with ${result}, and the drive did not`);
      }
      return;
    }
    this.answered++;
    if (isFlush && defects.untold) {
      violated(
        "promise 2: a FLUSH says that all is safe after a flush that failed and was not told of",
      );
    }
    if (isFlush) drive.timeline.promiseFlush(issuedAt);
    if (change === null) return;
    trace.add("answered", change.id);
    change.answeredAt = at;
    if ((flags & UBLK_IO_F_FUA) !== 0) drive.timeline.promiseWrite(change);
  }

  get #deviceBlocks(): number {
    return this.#options.drive.deviceSizeBytes / SECTOR / SECTORS_PER_BLOCK;
  }

  /** First sector and length of a request of at most `blocks` blocks. */
  #range(blocks: number): [number, number] {
    const { random, habits } = this.#options;
    const device = this.#deviceBlocks;
    const count = 1 + random.below(blocks);
    const room = random.oneIn(5) ? device : Math.max(count, Math.min(habits.hotBlocks, device));
    const first = random.below(room - count + 1);
    let start = first * SECTORS_PER_BLOCK;
    let sectors = count * SECTORS_PER_BLOCK;
    if (habits.unalignedOneIn > 0 && random.oneIn(habits.unalignedOneIn)) {
      const skip = random.below(Math.min(SECTORS_PER_BLOCK, sectors));
      start += skip;
      sectors -= skip;
      sectors -= random.below(Math.min(SECTORS_PER_BLOCK, sectors));
    }
    return [start, sectors];
  }
}
