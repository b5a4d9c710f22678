// Where the program begins: a command line of a person or a script, or a daemon that launch.ts
// started. The daemon has its configuration already, so that the whole reading of command lines,
// nearly half of what there is to load, is left out.

import { BACKGROUND_OPTION } from "./background_option.ts";
import type { Context } from "./context.ts";

/** Runs the program; returns its exit code, never throws. */
export async function run(ctx: Context): Promise<number> {
  const isDaemon = ctx.argv.at(-1) === BACKGROUND_OPTION;
  const { run } = isDaemon ? await import("./background.ts") : await import("./mod.ts");
  return await run(ctx);
}
