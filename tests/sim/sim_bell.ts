// The replicator's bell: what Atomics.waitAsync does, in virtual time.

import type { Bell, BellWait } from "../../src/shared/bell.ts";
import { type SharedViews, WORD } from "../../src/shared/layout.ts";
import type { Process, Scheduler } from "./scheduler.ts";

export class SimBell implements Bell {
  readonly #words: Int32Array;
  readonly #scheduler: Scheduler;
  readonly #process: Process;
  #waiting: { seen: number; wake: () => void } | null = null;

  constructor(views: SharedViews, scheduler: Scheduler, process: Process) {
    this.#words = views.words;
    this.#scheduler = scheduler;
    this.#process = process;
  }

  async wait({ timeoutMs, idle, hasWork }: BellWait): Promise<void> {
    const seen = this.#words[WORD.replicatorBell];
    if (idle) this.#words[WORD.replicatorAsleep] = 1;
    try {
      if (hasWork()) return;
      await new Promise<void>((resolve) => {
        const cancel = this.#scheduler.after(timeoutMs, this.#process, resolve);
        this.#waiting = {
          seen,
          wake: () => {
            cancel();
            this.#scheduler.after(0.03, this.#process, resolve);
          },
        };
      });
      this.#waiting = null;
    } finally {
      this.#words[WORD.replicatorAsleep] = 0;
    }
  }

  listen(): void {
    const waiting = this.#waiting;
    if (waiting === null || this.#words[WORD.replicatorBell] === waiting.seen) return;
    this.#waiting = null;
    waiting.wake();
  }
}
