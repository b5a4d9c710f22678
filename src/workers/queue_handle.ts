// A queue's worker as the main room sees it. Owns: the Worker.
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
  #hasEnded = false;

  constructor(room: QueueRoomOptions) {
    this.queueId = room.queueId;
    this.#worker = new Worker(workerUrl(import.meta.resolve("./queue_worker.ts")), {
      type: "module",
      name: `queue-${room.queueId}`,
    });
    const ready = Promise.withResolvers<QueueReadyMessage>();
    const ended = Promise.withResolvers<Error | undefined>();
    const finish = (error: Error | undefined) => {
      this.#hasEnded = true;
      ready.reject(error ?? new ReplicaError("closed", "Cannot start the queue: it was stopped"));
      ended.resolve(error);
    };
    this.#worker.onmessage = (event: MessageEvent<FromQueueMessage>) => {
      const message = event.data;
      if (message.type === "ready") ready.resolve(message);
      else finish(message.type === "failed" ? queueError(message) : undefined);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault(); // the device is stopped in order instead
      finish(event.error instanceof Error ? event.error : new Error(event.message));
    };
    this.ready = ready.promise;
    this.ended = ended.promise;
    this.ready.catch(() => undefined); // whoever starts the device asks; after a failed start nobody does
    this.#worker.postMessage({ type: "start", room });
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
