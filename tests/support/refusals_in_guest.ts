// Runs inside a guest for tests/e2e/refusals_test.ts: one process tries command lines again and again
// between changes of the machine, as starting the program takes seconds there. Takes a list of steps
// as JSON, prints what each attempt gave as JSON.

import { systemPlatform } from "../../src/cli/system_platform.ts";
import { CliWorld } from "./cli_context.ts";
import { run } from "./temp_disk.ts";

/**
 * `sh`: changes the machine, in the directory that $DIR names in every step ($UUID: see below). `argv`: a command line
 * to try in this process; `interruptMs`: SIGINT after that time. `command`: a program to try instead.
 */
export type RefusalStep =
  | { readonly sh: string }
  | { readonly name: string; readonly argv: readonly string[]; readonly interruptMs?: number }
  | { readonly name: string; readonly command: readonly string[] };

export interface RefusalAttempt {
  readonly name: string;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What came, went or changed: files of the directory, devices, daemons. */
  readonly changes: readonly string[];
}

/** Everything that a refused command could leave or change. Locks and logs don't count. */
async function traces(world: CliWorld): Promise<string[]> {
  const devices = [...Deno.readDirSync("/dev")].map(({ name }) => `/dev/${name}`)
    .filter((path) => path.includes("/ublk"));
  const daemons = await new Deno.Command("pgrep", { args: ["-f", "--", "--report-ready"] })
    .output();
  const files = world.snapshot().filter((line) => !/\/(run|lock|\.store|[^/]*\.log) /.test(line));
  return [
    ...devices.sort(),
    `daemons ${new TextDecoder().decode(daemons.stdout).trim()}`,
    ...files,
  ];
}

/** $UUID in a step: what a step with `format` wrote to the file "uuid". */
function formattedUuid(): string {
  try {
    return Deno.readTextFileSync("uuid").trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

async function tryCommand(world: CliWorld, step: RefusalStep, expand: (text: string) => string) {
  if ("argv" in step) {
    const { interruptMs } = step;
    if (interruptMs !== undefined) setTimeout(() => world.interrupt(), interruptMs);
    return await world.run(...step.argv.map(expand));
  }
  const [program, ...args] = "command" in step ? step.command.map(expand) : [];
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function main(steps: readonly RefusalStep[]): Promise<RefusalAttempt[]> {
  using world = new CliWorld({ platform: systemPlatform });
  Deno.chdir(world.directory);
  const expand = (text: string) =>
    text.replaceAll("$DIR", world.directory).replaceAll("$UUID", formattedUuid());
  const attempts: RefusalAttempt[] = [];
  for (const step of steps) {
    if ("sh" in step) {
      await run("bash", "-euc", expand(step.sh));
      continue;
    }
    const before = await traces(world);
    const result = await tryCommand(world, step, expand);
    const after = await traces(world);
    const changes = [
      ...before.filter((line) => !after.includes(line)).map((line) => `- ${line}`),
      ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`),
    ];
    attempts.push({ name: step.name, ...result, changes });
  }
  return attempts;
}

if (import.meta.main) {
  const attempts = await main(JSON.parse(Deno.args[0]));
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(attempts)));
  Deno.exit(0); // whatever a refused command may have left running
}
