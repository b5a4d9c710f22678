// Virtual time: a heap of events, fired one at a time in the order of their times. After each event
// everything that it set in motion (promises) comes to rest before the next one: a turn of Deno's loop
// guarantees that, so one seed is one run.
//
// Every event belongs to a process. Killing a process drops its events, and since all of its code waits
// for one of them, it never runs again: that is a crash.

import { setImmediate } from "node:timers";
import type { Clock } from "../../src/base/clock.ts";
import type { Footprint } from "./footprint.ts";
import type { Timeline } from "./history.ts";

/** Something that can be killed: a daemon, or the world itself, which is not. */
export class Process {
  readonly name: string;
  readonly pid: number;
  alive = true;
  /** What it holds; null: nobody counts. */
  footprint: Footprint | null = null;
  /**
   * Cut off from the drive, as if its machine were lost, with the history as it was then; the store it
   * still reaches.
   */
  past: Timeline | null = null;
  /** Until then it stands still, and what it has sent as well: a machine that hangs and comes back. */
  frozenUntilMs = 0;
  readonly #onDeath: (() => void)[] = [];

  constructor(name: string, pid = 1) {
    this.name = name;
    this.pid = pid;
  }

  /** For what has to know at once: requests on their way. */
  onDeath(run: () => void): void {
    this.#onDeath.push(run);
  }

  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const run of this.#onDeath) run();
  }
}

/** Thrown by a failpoint in code that can't wait: unwinds to whoever runs that code. */
export class CrashHere extends Error {
  override name = "CrashHere";
}

interface Event {
  atMs: number;
  readonly order: number;
  readonly process: Process;
  /** Whether it may set promises in motion. */
  readonly settles: boolean;
  run: (() => void) | null;
}

/** Wall-clock time at which every world begins. */
const EPOCH_MS = 1_700_000_000_000;

export class Scheduler {
  nowMs = 0;
  /** Events fired so far. */
  fired = 0;
  /** Called after each event, once all is quiet. */
  afterEvent: () => Promise<void> | void = () => {};
  readonly #heap: Event[] = [];
  #order = 0;

  /** Fires `run` after `delayMs` unless `process` is dead by then; gives what cancels it. */
  after(
    delayMs: number,
    process: Process,
    run: () => void,
    { settles = true }: { settles?: boolean } = {},
  ): () => void {
    const event: Event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.#order++,
      process,
      settles,
      run,
    };
    this.#push(event);
    process.footprint?.add("waits", 1);
    return () => {
      if (event.run !== null) process.footprint?.add("waits", -1);
      event.run = null;
    };
  }

  clock(process: Process): Clock {
    return {
      wallMs: () => EPOCH_MS + Math.floor(this.nowMs),
      nowMs: () => this.nowMs,
      sleep: (ms, signal) => this.#sleep(ms, process, signal),
    };
  }

  /** Fires events until `done` says so; false when nothing is left, or too many were fired. */
  async run(done: () => boolean, limit: number): Promise<boolean> {
    await settle();
    while (!done()) {
      const event = this.#pop();
      if (event === undefined || this.fired === limit) return false;
      if (event.run === null || !event.process.alive) continue;
      if (event.process.frozenUntilMs > event.atMs) {
        event.atMs = event.process.frozenUntilMs;
        this.#push(event);
        continue;
      }
      this.nowMs = Math.max(this.nowMs, event.atMs);
      this.fired++;
      const { run } = event;
      event.run = null;
      event.process.footprint?.add("waits", -1);
      run();
      if (event.settles) await settle();
      const checking = this.afterEvent();
      if (checking !== undefined) await checking;
    }
    return true;
  }

  #sleep(ms: number, process: Process, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.after(ms, process, done);
      function done() {
        cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      }
      signal?.addEventListener("abort", done);
    });
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!earlier(event, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && earlier(heap[child + 1], heap[child])) child++;
      if (!earlier(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function earlier(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Resolves when no microtask is left. */
export function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
