// The long runs: the suites whose tests scale with SOAK=1 (tests/support/soak.ts), one after the other.
//   tools/soak.ts [FILTER]     only the tests whose names contain FILTER
// Ends with the exit code of the run; docs/results.md has the figures of past ones.

const ROOT = new URL("../", import.meta.url).pathname;
const SUITES = [
  "tests/model",
  "tests/conformance",
  "tests/sim",
  "tests/fault",
  "tests/e2e",
  "tests/latency",
];
const [filter] = Deno.args;

const { code } = await new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "-A",
    "--no-check",
    ...(filter === undefined ? [] : [`--filter=${filter}`]),
    ...SUITES,
  ],
  cwd: ROOT,
  env: { SOAK: "1" },
  stdin: "null",
}).spawn().status;
Deno.exit(code);
