// Runs one hot loop and prints its result: a process of its own, see measureHotLoop().

import { type HotLoopOptions, runHotLoop } from "./hot_loop.ts";

const options: HotLoopOptions = JSON.parse(Deno.args[0]);
const result = JSON.stringify(runHotLoop(options));
Deno.stdout.writeSync(new TextEncoder().encode(`${result}\n`));
