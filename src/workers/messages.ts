// What the main room and a queue's worker say to each other. While the worker serves requests it
// hears nothing but its doorbell: "start" is the only message to it.

import type { ErrorReport } from "../base/error_report.ts";
import type { QueueRoomOptions } from "../queue/room.ts";

export interface StartQueueMessage {
  readonly type: "start";
  readonly room: QueueRoomOptions;
}

/** Every tag is fetched. */
export interface QueueReadyMessage {
  readonly type: "ready";
  readonly isIoFlusher: boolean;
}

/** The queue has let go of the device; the worker ends. */
export interface QueueStoppedMessage {
  readonly type: "stopped";
}

/** The queue broke and has let go of the device; the worker ends. */
export interface QueueFailedMessage {
  readonly type: "failed";
  readonly error: ErrorReport;
  readonly stack?: string;
}

export type ToQueueMessage = StartQueueMessage;
export type FromQueueMessage = QueueReadyMessage | QueueStoppedMessage | QueueFailedMessage;
