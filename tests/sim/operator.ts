// What an operator does in a life of the daemon: changes the mode, and compares, at moments that the seed
// decides. A comparison is shown other bytes than the primary has in some blocks, and must find just these,
// whatever guest, store and resync do meanwhile; with --repair they are copied, which must do no harm.

import { ReplicaError } from "../../src/base/errors.ts";
import { SECTOR } from "../../src/base/units.ts";
import {
  type ByteSpan,
  verdictOf,
  type VerifyReport,
} from "../../src/replication/verify_report.ts";
import type { Prng } from "../support/prng.ts";
import type { SimDaemon } from "./daemon.ts";
import type { Excuses } from "./excuses.ts";
import { ORDERS, UNIT_BYTES, type WorldPlan } from "./plan.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import type { SimDrive } from "./sim_drive.ts";
import type { SimService } from "./sim_store.ts";
import { SimFailure, type Trace, violated } from "./trace.ts";

/** Blocks in which a comparison is misled, at most. */
const TWISTED_MAX = 4;

export interface OperatorOptions {
  readonly plan: WorldPlan;
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly drive: SimDrive;
  readonly service: SimService;
  readonly excuses: Excuses;
  /** Another primary has come for the replica. */
  isContested(): boolean;
}

export class Operator {
  readonly #options: OperatorOptions;
  /** Comparisons that came to an end, and blocks that they found. */
  compared = 0;
  found = 0;

  constructor(options: OperatorOptions) {
    this.#options = options;
  }

  /** Interferes once or twice. */
  orderAround(daemon: SimDaemon, process: Process): void {
    const { plan, random, scheduler, trace } = this.#options;
    let afterMs = 0;
    for (const order of random.pick(ORDERS)) {
      afterMs += random.below(plan.orderWithinMs);
      scheduler.after(afterMs, process, () => {
        trace.add("order", order);
        daemon.order(order);
      });
    }
  }

  /** Compares at some moment, and perhaps loses patience; resolves when that has ended. */
  async compareAround(daemon: SimDaemon, process: Process): Promise<void> {
    const { plan, random, scheduler } = this.#options;
    const count = random.oneIn(2) ? random.below(TWISTED_MAX + 1) : 0;
    const twisted = new Set(Array.from({ length: count }, () => random.below(plan.deviceBlocks)));
    const repair = random.oneIn(2);
    const patienceMs = random.oneIn(4) ? random.below(2000) : Infinity;
    const abort = new AbortController();
    await scheduler.clock(process).sleep(random.below(random.pick([10, 1000])));
    if (patienceMs < Infinity) scheduler.after(patienceMs, process, () => abort.abort());
    try {
      await this.#compare(daemon, process, { repair, twisted, signal: abort.signal });
    } catch (error) {
      if (error instanceof SimFailure) throw error;
      this.#judgeRefusal(error, process);
    }
  }

  /** Where nothing fails and nobody misleads it, a comparison says that all is equal. */
  async findEqual(daemon: SimDaemon, process: Process): Promise<void> {
    const { signal } = new AbortController();
    const request = { repair: false, twisted: new Set<number>(), signal };
    const verdict = verdictOf(await this.#compare(daemon, process, request));
    if (verdict !== "equal") violated(`a comparison in a sound world says "${verdict}"`);
  }

  async #compare(
    daemon: SimDaemon,
    process: Process,
    { twisted, ...request }: { repair: boolean; twisted: ReadonlySet<number>; signal: AbortSignal },
  ): Promise<VerifyReport> {
    const { trace, drive, service } = this.#options;
    trace.add("compare", Number(request.repair), ...twisted);
    const zeroings = this.#zeroings();
    const before = { reported: drive.defects.reported, garbled: service.garbled, zeroings };
    const report = await daemon.verify({ ...request, onProgress: () => {} }, twisted);
    this.compared++;
    const differing = blocksOf(report.differing);
    this.found += differing.size;
    trace.add("compared", report.cno, report.busyBytes / UNIT_BYTES, ...differing);
    // Of a replica that somebody else has taken, or of a drive that is elsewhere, it may say what it likes.
    if (process.past !== null || this.#options.isContested()) return report;
    this.#judge(report, process, twisted, before);
    if (report.isRepairing !== (request.repair && differing.size > 0)) {
      violated(`a comparison repairs: ${report.isRepairing}`);
    }
    return report;
  }

  #judge(
    report: VerifyReport,
    process: Process,
    twisted: ReadonlySet<number>,
    before: { reported: number; garbled: number; zeroings: readonly number[] },
  ): void {
    const { drive: { defects }, service } = this.#options;
    const damaged = blocksOf(report.damaged);
    const unreadable = blocksOf(report.unreadable);
    const differing = blocksOf(report.differing);
    if (damaged.size > 0 && service.garbled === before.garbled) {
      violated(`a comparison calls a sound replica damaged: ${report.damaged[0].message}`);
    }
    if (unreadable.size > 0 && defects.reported === before.reported) {
      violated("a comparison calls blocks unreadable that were read");
    }
    const zeroings = this.#zeroings();
    for (const block of differing) {
      // A block that could not be read for a while is known to lack what it holds.
      const mayLack = defects.mayLack(process, block * UNIT_BYTES / SECTOR);
      // Zeros that come back each time that it is looked at seem not to change.
      const isDeceptive = zeroings[block] - before.zeroings[block] >= 3;
      if (twisted.has(block) || mayLack || isDeceptive) continue;
      violated(`a comparison finds block ${block}, which is equal`);
    }
    let missed = 0;
    for (const block of twisted) {
      if (!differing.has(block) && !damaged.has(block) && !unreadable.has(block)) missed++;
    }
    if (missed > report.busyBytes / UNIT_BYTES) violated(`a comparison overlooks ${missed} blocks`);
    if (!report.isComplete || report.comparedBytes !== report.deviceSizeBytes) {
      violated(`a comparison ends after ${report.comparedBytes} bytes`);
    }
  }

  /** How often each block was zeroed so far. */
  #zeroings(): number[] {
    const { drive, plan } = this.#options;
    const sectors = UNIT_BYTES / SECTOR;
    return Array.from(
      { length: plan.deviceBlocks },
      (_, block) => drive.timeline.zeroings(block * sectors),
    );
  }

  /** What may keep a comparison from an answer: the mode, a stop, impatience, or what the world did to it. */
  #judgeRefusal(error: unknown, process: Process): void {
    const { trace, excuses, service } = this.#options;
    trace.add("compared in vain");
    trace.note(String(error));
    if (error instanceof ReplicaError) {
      if (error.kind === "closed" || error.kind === "unavailable") return;
      if (process.past !== null || error.kind === "fenced" || service.garbled > 0) return;
    }
    if (!excuses.has(error)) violated(`a comparison failed: ${error}`);
  }
}

function blocksOf(spans: readonly ByteSpan[]): Set<number> {
  return new Set(
    spans.flatMap(({ offsetBytes, lengthBytes }) =>
      Array.from({ length: lengthBytes / UNIT_BYTES }, (_, k) => offsetBytes / UNIT_BYTES + k)
    ),
  );
}
