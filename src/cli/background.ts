// A daemon in the background: the child's side of launch.ts. The configuration comes in the
// environment; the answer, a line of JSON for each step of the start, goes to stdout, where the parent waits.

import deno from "../../deno.json" with { type: "json" };
import { reportOf } from "../base/error_report.ts";
import { ReplicaError, usageError } from "../base/errors.ts";
import { parseJsonObject } from "../base/json.ts";
import { configureLog } from "../base/log.ts";
import type { DeviceConfig } from "../config.ts";
import { BACKGROUND_OPTION, CONFIG_VARIABLE } from "./background_option.ts";
import type { Context } from "./context.ts";
import { runDaemon } from "./daemon.ts";
import type { ReadyMessage } from "./ready_report.ts";
import { reportFailure } from "./report.ts";

/** Runs the device until it is stopped; never throws. */
export async function run(ctx: Context): Promise<number> {
  let reported = false;
  function say(message: ReadyMessage): void {
    reported = !("progress" in message);
    if (!ctx.stdout.write(JSON.stringify(message) + "\n")) {
      throw new ReplicaError("closed", "Cannot report the device: the waiting add command is gone");
    }
  }
  try {
    const config = readConfig(ctx);
    configureLog(config.log);
    await runDaemon(ctx, {
      config,
      version: deno.version,
      logFile: config.log.file,
      onProgress: (progress) => say({ progress }),
      onReady: (ready) => say({ ready }),
    });
    return 0;
  } catch (error) {
    if (!reported) ctx.stdout.write(JSON.stringify({ error: reportOf(error) }) + "\n");
    return reportFailure(ctx, error);
  }
}

/** What the parent checked and sent; anything else is somebody who tries the option by hand. */
function readConfig(ctx: Context): DeviceConfig {
  const config = parseConfig(ctx.env(CONFIG_VARIABLE) ?? "");
  if (config !== null) return config;
  throw usageError(`Cannot use ${BACKGROUND_OPTION}: it is between add and its own daemon`, {
    hint: "Leave it out; --json reports the device as JSON.",
  });
}

function parseConfig(text: string): DeviceConfig | null {
  const value: Partial<DeviceConfig> | null = parseJsonObject(text);
  const isWhole = typeof value?.target?.type === "string" && typeof value.log === "object" &&
    typeof value.unixSocket === "string";
  return isWhole ? value as DeviceConfig : null;
}
