// make bench: what the program costs, as tables and in build/bench.json. Four parts: fio on our devices
// in a guest, the replicator natively, the I/O path natively, the write-intent map natively. Figures are
// never a reason to fail.
//
// make bench                                         all of it, about 15 minutes
// make bench ARGS='--only path,replicator'           without the guest
// make bench ARGS='--rounds 1 --seconds 1 --megabytes 256'   a quick look

import { Command, InvalidArgumentError } from "commander";
import { deviceBench, printDevice } from "./bench/device_bench.ts";
import { drainBench, printDrain } from "./bench/drain_bench.ts";
import { guestBench, printGuest } from "./bench/guest_bench.ts";
import { hotLoopBench, printHotLoop } from "./bench/hot_loop_bench.ts";
import { intentBench, printIntent } from "./bench/intent_bench.ts";
import { describeMachine } from "./bench/machine.ts";
import { say } from "./bench/print.ts";

const PARTS = ["guest", "replicator", "path", "intent"];
const OUTPUT = new URL("../build/bench.json", import.meta.url).pathname;

interface BenchOptions {
  only: string[];
  rounds: number;
  seconds: number;
  megabytes: number;
  cpus: number;
}

function parseParts(text: string): string[] {
  const parts = text.split(",");
  const odd = parts.find((part) => !PARTS.includes(part));
  if (odd === undefined) return parts;
  throw new InvalidArgumentError(`"${odd}" is not a part: ${PARTS.join(", ")}`);
}

function parseCount(text: string): number {
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Not a positive whole number");
}

async function bench(options: BenchOptions): Promise<void> {
  const { only, rounds } = options;
  const machine = await describeMachine();
  say(
    `${machine.date}, ${machine.commit}, ${machine.cpu}, ${machine.cores} cores, load ${machine.load}`,
  );
  const hotLoop = only.includes("path") ? await hotLoopBench({ rounds }) : undefined;
  if (hotLoop) printHotLoop(hotLoop);
  const device = only.includes("path") ? await deviceBench({ rounds }) : undefined;
  if (device) printDevice(device);
  const intent = only.includes("intent") ? await intentBench({ rounds }) : undefined;
  if (intent) printIntent(intent);
  const replicator = only.includes("replicator") ? await drainBench(options) : undefined;
  if (replicator) printDrain(replicator);
  const guest = only.includes("guest") ? await guestBench(options) : undefined;
  if (guest) printGuest(guest);
  const all = { machine, options, path: hotLoop, device, intent, replicator, guest };
  await Deno.mkdir(new URL(".", `file://${OUTPUT}`).pathname, { recursive: true });
  await Deno.writeTextFile(OUTPUT, JSON.stringify(all, null, 2) + "\n");
  say(`\nAll figures: ${OUTPUT}`);
}

await new Command("bench")
  .description("Measures the program: fio in a guest, the replicator and the I/O path natively.")
  .option("--only <parts>", `parts, with commas: ${PARTS.join(",")}`, parseParts, PARTS)
  .option("--rounds <number>", "rounds, of which the median is taken", parseCount, 3)
  .option("--seconds <number>", "of each run of fio", parseCount, 3)
  .option("--megabytes <number>", "that the replicator is given per run", parseCount, 1024)
  .option("--cpus <number>", "processors of the guest", parseCount, 2)
  .action(bench)
  .parseAsync(Deno.args, { from: "user" });
