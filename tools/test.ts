// Runs the test suites and ends with one line: "N passed, N failed".
// tools/test.ts [SUITE…]: all suites, or the named ones. A suite is a folder of tests/, or tidy. What
// failed is repeated before that line.
// With --soak the same tests in their long form, hours; --filter TEXT runs those with TEXT in their names.
//
// One suite after the other, but the one with faults beside the one with guests: it mostly waits for time
// to pass, and what it prints comes when it has ended.

import { Command } from "commander";
import { type Count, countTests, type Failure, failuresIn } from "./junit.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const SUITE_LIMIT_MINUTES = 70;

/** From quick to slow; a suite that is not here yet, or not any more, is no mistake. */
const ORDER = [
  ["tidy"],
  ["unit"],
  ["conformance"],
  ["model"],
  ["sim"],
  ["fault", "e2e"],
  ["alone"],
];
/** Suites whose files may run side by side: nothing in them depends on being alone. */
const PARALLEL = new Set(["unit", "conformance", "model", "e2e"]);

interface Options {
  soak: boolean;
  filter?: string;
}

interface SuiteResult extends Count {
  readonly failures: readonly Failure[];
}

function pathOf(suite: string): string {
  return suite === "tidy" ? "tests/tidy_test.ts" : `tests/${suite}`;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(ROOT + path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Runs one suite, its output passed through as it comes or at its end; counts from the report that deno writes. */
async function runSuite(suite: string, options: Options, isLive: boolean): Promise<SuiteResult> {
  const report = await Deno.makeTempFile({ suffix: ".xml" });
  const args = ["test", "-A", "--no-check", `--junit-path=${report}`];
  if (PARALLEL.has(suite)) args.push("--parallel");
  if (options.filter !== undefined) args.push(`--filter=${options.filter}`);
  const limit = options.soak ? undefined : AbortSignal.timeout(SUITE_LIMIT_MINUTES * 60_000);
  const command = new Deno.Command(Deno.execPath(), {
    args: [...args, pathOf(suite)],
    cwd: ROOT,
    env: options.soak ? { SOAK: "1" } : {},
    stdin: "null",
    stdout: isLive ? "inherit" : "piped",
    stderr: isLive ? "inherit" : "piped",
    signal: limit,
  });
  if (isLive) say(`── ${suite}`);
  const { success } = isLive ? await command.spawn().status : await endOf(suite, command);
  const junit = await Deno.readTextFile(report);
  await Deno.remove(report);
  const { passed, failed } = countTests(junit);
  const failures = failuresIn(junit);
  if (limit?.aborted) {
    say(`The suite ${suite} was stopped: it took more than ${SUITE_LIMIT_MINUTES} minutes`);
  }
  // A run that broke down (a file that does not load, a leak, a crash) is a failure without a test.
  return { passed, failed: success ? failed : Math.max(1, failed), failures };
}

async function endOf(suite: string, command: Deno.Command): Promise<Deno.CommandStatus> {
  const output = await command.output();
  say(`── ${suite}`);
  Deno.stdout.writeSync(output.stdout);
  Deno.stderr.writeSync(output.stderr);
  return output;
}

async function runSuites(suites: readonly string[], options: Options): Promise<void> {
  const groups = suites.length > 0
    ? suites.map((suite) => [suite])
    : ORDER.map((group) => group.filter((suite) => exists(pathOf(suite))));
  const sum = { passed: 0, failed: 0 };
  const all: Failure[] = [];
  for (const group of groups) {
    const runs = group.map((suite, i) => runSuite(suite, options, i === group.length - 1));
    for (const { passed, failed, failures } of await Promise.all(runs)) {
      sum.passed += passed;
      sum.failed += failed;
      all.push(...failures);
    }
  }
  if (sum.passed + sum.failed === 0) {
    say("No test was found");
    sum.failed = 1;
  }
  // Once more, where whoever sees but the end of the output finds it.
  for (const { file, name, text } of all) say(`\nFAILED ${file}: ${name}\n${text}\n`);
  say(`${sum.passed} passed, ${sum.failed} failed`);
  Deno.exit(sum.failed === 0 ? 0 : 1);
}

await new Command("test")
  .description("Runs the test suites and ends with one line: N passed, N failed.")
  .argument("[suites...]", "folders of tests/, or tidy; all of them if none is named")
  .option("--soak", "the long form of the tests that have one, without a limit of time", false)
  .option("--filter <text>", "only tests with this in their names")
  .action(runSuites)
  .parseAsync(Deno.args, { from: "user" });
