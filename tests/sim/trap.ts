// Where the present life of the daemon ends by itself: at an event, at a failpoint, or some events after
// one. Failpoints belong to the whole process, so one trap at a time is set.

import { armFailpoints, type Failpoint } from "../../src/base/failpoints.ts";
import type { Crash, End } from "./plan.ts";
import { CrashHere, type Scheduler } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

export class Trap {
  readonly #scheduler: Scheduler;
  readonly #trace: Trace;
  #atEvent = Infinity;
  #kind: Crash = "kill";
  /** Death once the present event is over. */
  #now: Crash | null = null;
  /** The failpoints at which daemons died. */
  readonly diedAt: Failpoint[] = [];

  constructor(scheduler: Scheduler, trace: Trace) {
    this.#scheduler = scheduler;
    this.#trace = trace;
  }

  /** How the daemon has to die now; null: not yet. */
  get sprung(): Crash | null {
    return this.#now ?? (this.#scheduler.fired >= this.#atEvent ? this.#kind : null);
  }

  /** A queue's code was unwound by a failpoint: the process goes down with it. */
  springNow(): void {
    this.#now ??= this.sprung ?? "kill";
  }

  set(end: End): void {
    this.clear();
    if (end.kind === "stop" || end.kind === "rival") return;
    this.#kind = end.kind;
    if ("atEvent" in end) {
      this.#atEvent = this.#scheduler.fired + end.atEvent;
      return;
    }
    let hits = 0;
    armFailpoints((name) => {
      if (name !== end.failpoint || ++hits !== end.hit) return;
      this.#trace.add("failpoint", name, hits);
      this.diedAt.push(name);
      if (end.eventsLater > 0) {
        this.#atEvent = this.#scheduler.fired + end.eventsLater;
        return;
      }
      this.#now = end.kind;
      if (name.startsWith("queue.")) throw new CrashHere();
      return new Promise<void>(() => {});
    });
  }

  clear(): void {
    this.#atEvent = Infinity;
    this.#now = null;
    armFailpoints(null);
  }
}
