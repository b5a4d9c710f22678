// A queue's worker as the main room sees it. Owns: the Worker, which loads its program while the target
// is being started, and gets its room afterwards.
// `ready` and `ended` settle exactly once each, whatever the worker does.

import { errorOfReport } from "../base/error_report.ts";
import { ReplicaError } from "../base/errors.ts";
import type { QueueRoomOptions } from "../queue/room.ts";
import type { FromQueueMessage, QueueFailedMessage, QueueReadyMessage } from "./messages.ts";
import { workerUrl } from "./worker_url.ts";

export class QueueHandle {
  readonly queueId: number;
  /** Resolves when every tag is fetched; rejects with what kept the queue from it. */
  readonly ready: Promise<QueueReadyMessage>;
  /** Resolves when the queue has let go of the device: with an error if it broke. */
  readonly ended: Promise<Error | undefined>;
  readonly #worker: Worker;
  readonly #finish: (error: Error | undefined) => void;
  #hasStarted = false;
  #hasEnded = false;

  constructor(queueId: number) {
    this.queueId = queueId;
    this.#worker = new Worker(workerUrl(import.meta.resolve("./queue_worker.ts")), {
      type: "module",
      name: `queue-${queueId}`,
    });
    const ready = Promise.withResolvers<QueueReadyMessage>();
    const ended = Promise.withResolvers<Error | undefined>();
    this.#finish = (error) => {
      this.#hasEnded = true;
      ready.reject(error ?? new ReplicaError("closed", "Cannot start the queue: it was stopped"));
      ended.resolve(error);
    };
    this.#worker.onmessage = (event: MessageEvent<FromQueueMessage>) => {
      const message = event.data;
      if (message.type === "ready") ready.resolve(message);
      else this.#finish(message.type === "failed" ? queueError(message) : undefined);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault(); // the device is stopped in order instead
      this.#finish(event.error instanceof Error ? event.error : new Error(event.message));
    };
    this.ready = ready.promise;
    this.ended = ended.promise;
    this.ready.catch(() => undefined); // whoever starts the device asks; after a failed start nobody does
  }

  /** Has the worker serve its queue. */
  start(room: QueueRoomOptions): void {
    this.#hasStarted = true;
    this.#worker.postMessage({ type: "start", room });
  }

  /** Ends a worker that was never started; any other goes on. */
  dismiss(): void {
    if (this.#hasStarted) return;
    this.#worker.terminate();
    this.#finish(undefined);
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Gives the worker up. Its thread goes on if it is blocked in the kernel; only exit ends it then. */
  terminate(): void {
    this.#worker.terminate();
  }
}

function queueError(failure: QueueFailedMessage): Error {
  const error = errorOfReport(failure.error);
  error.stack = failure.stack ?? error.stack;
  return error;
}
