// Entry point of the replicator's worker: one room, from "start" to "stopped" or "failed".

import { reportOf } from "../base/error_report.ts";
import { configureLog } from "../base/log.ts";
import { ReplicatorRoom } from "../replicator/room.ts";
import type { ReplicatorRoomOptions } from "../replicator/room_options.ts";
import type { FromReplicatorMessage, ToReplicatorMessage } from "./replicator_messages.ts";

const worker = self as unknown as {
  onmessage: ((event: MessageEvent<ToReplicatorMessage>) => void) | null;
  postMessage(message: FromReplicatorMessage): void;
  close(): void;
};

let room: ReplicatorRoom | null = null;
/** Replicates from then on, or ends. */
const begun = Promise.withResolvers<void>();

async function serve(options: ReplicatorRoomOptions): Promise<void> {
  const serving = new ReplicatorRoom(options, {
    onNews: (news) => worker.postMessage({ type: "news", news }),
  });
  room = serving;
  try {
    worker.postMessage({ type: "ready", ready: await serving.open() });
    await begun.promise;
    const drained = await serving.run();
    await serving.close();
    worker.postMessage({ type: "stopped", drained });
  } catch (error) {
    const stack = error instanceof Error ? error.stack : undefined;
    worker.postMessage({ type: "failed", error: reportOf(error), stack });
    await serving.close();
  } finally {
    worker.close();
  }
}

/** Progress is told at most so often. */
const PROGRESS_MS = 200;

async function verify(serving: ReplicatorRoom, repair: boolean): Promise<void> {
  let toldMs = -Infinity;
  try {
    const report = await serving.verify({ repair }, (progress) => {
      if (performance.now() - toldMs < PROGRESS_MS) return;
      toldMs = performance.now();
      worker.postMessage({ type: "verify-progress", progress });
    });
    worker.postMessage({ type: "verified", report });
  } catch (error) {
    worker.postMessage({ type: "verify-failed", error: reportOf(error) });
  }
}

worker.onmessage = async function (event) {
  const message = event.data;
  switch (message.type) {
    case "start":
      configureLog(message.log);
      await serve(message.room);
      return;
    case "begin":
      begun.resolve();
      return;
    case "stop":
      room?.stop();
      begun.resolve();
      return;
    case "abandon":
      room?.abandon();
      begun.resolve();
      return;
    case "verify":
      if (room) await verify(room, message.repair);
      return;
    case "verify-stop":
      room?.stopVerify();
      return;
    case "order":
      if (room) worker.postMessage({ type: "ordered", mode: room.order(message.order) });
  }
};
