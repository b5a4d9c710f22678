// The replicator's worker as the main room sees it. Owns: the Worker.
// `ready` and `ended` settle exactly once each, whatever the worker does.

import { errorOfReport } from "../base/error_report.ts";
import { ReplicaError } from "../base/errors.ts";
import type { LogConfig } from "../config.ts";
import type { Mode } from "../replication/mode.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { ModeOrder } from "../replication/wanted_mode.ts";
import type {
  ReplicatorReady,
  ReplicatorRoomEvents,
  ReplicatorRoomOptions,
} from "../replicator/room_options.ts";
import type { FromReplicatorMessage, ToReplicatorMessage } from "./replicator_messages.ts";
import { busyError, VerifyCall, type VerifyRequest } from "./verify_call.ts";
import { workerUrl } from "./worker_url.ts";

/** How the room ended: `error` is what broke it, or kept it from opening. */
export interface ReplicatorEnd {
  readonly drained: boolean;
  readonly error?: Error;
}

export class ReplicatorHandle {
  /** Resolves when writes may be captured; rejects with what kept the room from opening. */
  readonly ready: Promise<ReplicatorReady>;
  readonly ended: Promise<ReplicatorEnd>;
  readonly #worker: Worker;
  readonly #ready = Promise.withResolvers<ReplicatorReady>();
  readonly #ended = Promise.withResolvers<ReplicatorEnd>();
  readonly #events: ReplicatorRoomEvents;
  /** Orders that the room has not answered yet, oldest first. */
  #orders: PromiseWithResolvers<Mode>[] = [];
  #isOver = false;
  #verify: VerifyCall | null = null;

  constructor(room: ReplicatorRoomOptions, log: LogConfig, events: ReplicatorRoomEvents) {
    this.#events = events;
    this.#worker = new Worker(workerUrl(import.meta.resolve("./replicator_worker.ts")), {
      type: "module",
      name: "replicator",
    });
    this.#worker.onmessage = (event: MessageEvent<FromReplicatorMessage>) => this.#hear(event.data);
    this.#worker.onerror = (event) => {
      event.preventDefault(); // the device goes on locally instead
      this.#finish({
        drained: false,
        error: event.error instanceof Error ? event.error : new Error(event.message),
      });
    };
    this.ready = this.#ready.promise;
    this.ended = this.#ended.promise;
    this.ready.catch(() => undefined); // whoever starts the device asks; after a failed start nobody does
    this.#post({ type: "start", room, log });
  }

  /** When the room is ready and the superblock says that the device runs: nothing is published before. */
  begin(): void {
    this.#post({ type: "begin" });
  }

  /** No queue captures any more: `ended` follows when the pool is drained. */
  stop(): void {
    this.#post({ type: "stop" });
  }

  /** `ended` follows at once, whatever the replica does. */
  abandon(): void {
    this.#post({ type: "abandon" });
  }

  /**
   * What the operator wants; nothing happens where the mode does not allow it. Resolves to the mode
   * that it led to, `onNews` having told of it before.
   */
  order(order: ModeOrder): Promise<Mode> {
    if (this.#isOver) return Promise.reject(overError("change the mode"));
    const answer = Promise.withResolvers<Mode>();
    this.#orders.push(answer);
    this.#post({ type: "order", order });
    return answer.promise;
  }

  /** Compares primary and replica; a second comparison meanwhile is refused. */
  async verify(request: VerifyRequest): Promise<VerifyReport> {
    if (this.#isOver) throw overError("compare");
    if (this.#verify) throw busyError();
    this.#post({ type: "verify", repair: request.repair });
    const call = VerifyCall.start(request, () => this.#post({ type: "verify-stop" }));
    this.#verify = call;
    try {
      return await call.report;
    } finally {
      this.#verify = null;
    }
  }

  #post(message: ToReplicatorMessage): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromReplicatorMessage): void {
    switch (message.type) {
      case "ready":
        this.#ready.resolve(message.ready);
        return;
      case "news":
        this.#events.onNews(message.news);
        return;
      case "ordered":
        this.#orders.shift()?.resolve(message.mode);
        return;
      case "verify-progress":
        this.#verify?.progress(message.progress);
        return;
      case "verified":
        this.#verify?.resolve(message.report);
        return;
      case "verify-failed":
        this.#verify?.reject(errorOfReport(message.error));
        return;
      case "stopped":
        this.#finish({ drained: message.drained });
        return;
      case "failed": {
        const error = errorOfReport(message.error);
        error.stack = message.stack ?? error.stack;
        this.#finish({ drained: false, error });
      }
    }
  }

  #finish(end: ReplicatorEnd): void {
    this.#ready.reject(
      end.error ?? new ReplicaError("closed", "Cannot start the replicator: it was stopped"),
    );
    this.#ended.resolve(end);
    this.#isOver = true;
    for (const order of this.#orders) order.reject(overError("change the mode"));
    this.#orders = [];
    this.#verify?.reject(overError("compare"));
  }
}

function overError(what: string): ReplicaError {
  return new ReplicaError("unavailable", `Cannot ${what}: replication has ended`);
}
