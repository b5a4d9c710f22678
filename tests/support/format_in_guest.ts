// Runs inside a guest for tests/e2e/format_test.ts: one process tries the command line again and
// again between changes of the machine, as starting the program takes seconds there. Takes a list of
// steps as JSON, prints what each attempt gave as JSON.

import { CliWorld } from "./cli_context.ts";
import { run } from "./temp_disk.ts";
import { MiB } from "../../src/base/units.ts";

/** `sh`: changes the machine. `argv`: a command line to try; `disk`: whose end is compared. */
export type GuestStep =
  | { readonly sh: string }
  | { readonly name: string; readonly disk: string; readonly argv: readonly string[] };

export interface Attempt {
  readonly name: string;
  readonly code: number;
  /** The last MiB of the disk is as it was. */
  readonly same: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

async function endOf(path: string): Promise<string> {
  using file = await Deno.open(path);
  await file.seek(-MiB, Deno.SeekMode.End);
  const bytes = new Uint8Array(MiB);
  await file.read(bytes);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Steps name the disks as the guest's environment does: $DISK0. */
function expand(text: string): string {
  return text.replace(/\$(DISK\d)/g, (_, name) => Deno.env.get(name) ?? "");
}

async function main(steps: readonly GuestStep[]): Promise<Attempt[]> {
  const attempts: Attempt[] = [];
  using world = new CliWorld();
  for (const step of steps) {
    if ("sh" in step) {
      await run("bash", "-euc", step.sh);
      continue;
    }
    const disk = expand(step.disk);
    const before = await endOf(disk);
    const result = await world.run(...step.argv.map(expand));
    attempts.push({ name: step.name, ...result, same: await endOf(disk) === before });
  }
  return attempts;
}

if (import.meta.main) {
  const attempts = await main(JSON.parse(Deno.args[0]));
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(attempts)));
}
