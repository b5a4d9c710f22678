// Runs a hot loop in a process of its own and adds what V8 says about its garbage collections.
// Callers: the allocation test and tools/bench.

import type { HotLoopOptions, HotLoopResult } from "./hot_loop.ts";

const PROBE = new URL("./hot_loop_probe.ts", import.meta.url).pathname;
/** So large a young generation that a leak shows as growth and not as a collection. */
const V8_FLAGS = [
  "--expose-gc",
  "--trace-gc",
  "--min-semi-space-size=64",
  "--max-semi-space-size=64",
];

export interface MeasuredHotLoop extends HotLoopResult {
  /** Collections that nobody asked for, from the start of the process to its end. */
  readonly collections: readonly string[];
}

export async function measureHotLoop(options: HotLoopOptions): Promise<MeasuredHotLoop> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `--v8-flags=${V8_FLAGS}`, PROBE, JSON.stringify(options)],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  const lines = decoder.decode(stdout).split("\n");
  const result = lines.find((line) => line.startsWith("{"));
  if (!success || result === undefined) {
    throw new Error(`Cannot measure the I/O path: ${decoder.decode(stderr)}`);
  }
  const collections = lines.filter((line) =>
    /Scavenge|Mark-Compact|Minor/.test(line) && !/testing/.test(line)
  );
  return { ...JSON.parse(result), collections };
}
