// Entry point of a queue's worker: one room, from "start" to "stopped" or "failed".

import { reportOf } from "../base/error_report.ts";
import { QueueRoom, type QueueRoomOptions } from "../queue/room.ts";
import type { FromQueueMessage, ToQueueMessage } from "./messages.ts";

const worker = self as unknown as {
  onmessage: ((event: MessageEvent<ToQueueMessage>) => void) | null;
  postMessage(message: FromQueueMessage): void;
  close(): void;
};

function serve(options: QueueRoomOptions): void {
  const room = QueueRoom.open(options);
  try {
    room.prime();
    worker.postMessage({ type: "ready", isIoFlusher: room.isIoFlusher });
    room.run();
  } finally {
    room.close();
  }
}

worker.onmessage = function (event) {
  try {
    serve(event.data.room);
    worker.postMessage({ type: "stopped" });
  } catch (error) {
    worker.postMessage({
      type: "failed",
      error: reportOf(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
  }
  worker.close();
};
