// `stop`: asks a daemon to stop its device cleanly, and waits until it is done.

import { ping, stop } from "../control/client.ts";
import { defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { daemonChoice, daemonSocket, waitForExit } from "./find_daemon.ts";
import { progressText } from "./progress_text.ts";

/** How long a stop may stay silent: every step of it reports progress more often than that. */
const SILENCE_MS = 120_000;

export const stopCommand = defineCommand({
  name: "stop",
  summary: "Stop a device cleanly and wait for it",
  description:
    "Drains the pool, cuts the last checkpoint, marks the primary clean, removes the device and " +
    "ends its daemon. Unmount the device first. SIGINT ends the wait, not the stop. Without an option " +
    "it means the daemon that listens on ./.ioreplica, never another one.",
  options: daemonChoice,
  examples: [["stop -n 0", "The device /dev/ublkb0"]],
  async run(ctx, values) {
    const socket = await daemonSocket(ctx, values, { orOnly: false });
    await stopDaemon(ctx, socket);
    if (values.json) ctx.stdout.write(JSON.stringify({ stopped: socket }) + "\n");
  },
});

/** Stops the daemon that listens on `socket`, shows its progress, and waits for its end. */
export async function stopDaemon(ctx: Context, socket: string): Promise<void> {
  const { pid } = await ping(socket, { signal: ctx.signal });
  let shown = "";
  await stop(socket, (progress) => {
    const text = progressText(progress);
    if (text !== shown) ctx.stderr.write(`stopping: ${text}\n`);
    shown = text;
  }, { timeoutMs: SILENCE_MS, signal: ctx.signal });
  await waitForExit(ctx, pid);
}
