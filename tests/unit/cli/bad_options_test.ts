// Wrong command lines: each is refused with exit code 2 and a message that names the fault, before
// anything is touched - neither a file of the place it runs in, nor the machine.

import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const REPLICA = ["add", "io-replica", "-f", "p.img", "--uuid", UUID];
const ADD = [...REPLICA, "--replica", `file:///srv/r/${UUID}`];
const NULL = ["add", "null"];

/** Command line, and part of what stderr must say. */
type Row = readonly [argv: readonly string[], part: string];

const COMMAND_LINES: readonly Row[] = [
  [[], "no command is given"],
  [["fly"], "unknown command 'fly'"],
  [["stat"], "Did you mean stats?"],
  [["add"], "no command is given"],
  [["add", "zoned"], "unknown command 'zoned'"],
  [["list", "extra"], "too many arguments"],
  [["status", "--dpeth", "3"], "unknown option '--dpeth'"],
  [[...ADD, "--deepth", "3"], "Did you mean --depth?"],
  [
    ["add", "io-replica", "--uuid", UUID, "--replica", "s3://bkt/k"],
    "-f, --file <FILE> is missing",
  ],
  [["add", "loop"], "--file <FILE> is missing"],
  [REPLICA, "--replica <URI> is missing"],
  [["format"], "--file <FILE> is missing"],
  [["export", "--replica", "file:///r"], "--output <FILE> is missing"],
  [["inspect"], "missing required argument 'what'"],
  [["inspect", "tree"], "it is not said where"],
  [["inspect", "leaf", "file:///r"], '"leaf": it is not a known word'],
  [["inspect", "tree", "/dev/vdb"], "holds no objects"],
  [["inspect", "tree", "file:///r", "3"], 'Cannot use number with "inspect tree"'],
  [["inspect", "segment", "file:///r"], "its number is missing"],
  [["inspect", "segment", "file:///r", "0"], "segment 0: it is not a segment's number"],
  [["inspect", "segment", "file:///r", "3", "--at", "3"], "Cannot use --at with"],
  [["inspect", "primary", "/dev/vdb", "--at", "3"], "Cannot use --at with a primary"],
  [["inspect", "inode", "file:///r", "--at", "0"], "--at 0: it must be from 1"],
  [["inspect", "inode", "file:///r", "--limit", "-1"], "--limit -1: it must be from 0"],
  [["inspect", "inode", "file:///r", "--s3-region", "eu-1"], "is not on S3"],
  [["add", "loop", "-f"], "argument missing"],
  [["add", "loop", "-f", "--depth", "4"], '--file: its value is missing before "--depth"'],
  [["add", "loop", "-f", ""], "--file: its value is empty"],
  [["add", "loop", "-f", "a\nb"], "--file: its value holds a control character"],
  [[...NULL, "-d", "4", "--depth", "8"], "--depth is given twice"],
  [["status", "-n", "0", "--unix-socket", "x"], "Cannot use --number with --unix-socket"],
  [["del"], "give either --number or --all"],
  [["del", "-n", "1", "--all"], "give either --number or --all"],
  [["stats", "--watch", "0"], "Cannot use --watch 0"],
  [["list", "--log-level", "loud"], '--log-level: "loud" is not one of its values'],
  [["list", "--log-format", "xml"], "Choose one of: text, json"],
  [
    ["list", "--log-file", "/nonexistent/x.log"],
    'Cannot open the log file "/nonexistent/x.log": No such file',
  ],
  [["verify", "-n", "9"], "Cannot find device 9"],
  [["verify", "--fix"], "unknown option '--fix'"],
  [["mode"], "no command is given"],
  [["mode", "set"], "missing required argument 'mode'"],
  [["mode", "set", "paused"], 'Cannot set the mode "paused": there is no such mode to set'],
  [["mode", "set", "pause", "-n", "9"], "Cannot find device 9"],
];

const NUMBERS_AND_SIZES: readonly Row[] = [
  [[...NULL, "-n", "-2"], "--number -2: it must be from -1"],
  [[...NULL, "-n", "1048576"], "--number 1048576"],
  [[...NULL, "-n", "zero"], '--number: "zero" is not a whole number'],
  [[...NULL, "-q", "0"], "--queue 0: it must be from 1 to 32"],
  [[...NULL, "-q", "33"], "--queue 33"],
  [[...NULL, "-q", "1.5"], '--queue: "1.5" is not a whole number'],
  [[...NULL, "-d", "0"], "--depth 0: it must be from 1 to 4096"],
  [[...NULL, "-d", "4097"], "--depth 4097"],
  [[...NULL, "-d", "1e3"], '--depth: "1e3" is not a whole number'],
  [[...NULL, "-d", "99999999999999999999"], "is not a whole number"],
  [[...NULL, "-b", "512"], "--io-buf-size 512B: it must be from 4KiB to 1MiB"],
  [[...NULL, "-b", "2MiB"], "--io-buf-size 2MiB"],
  [[...NULL, "-b", "5000"], "--io-buf-size 5000: it must be a multiple of 4096"],
  [[...NULL, "-b", "12x"], '--io-buf-size: "12x" is not a size'],
  [[...NULL, "-q", "32", "-d", "4096"], "buffers and pool would take"],
  [[...NULL, "--logical-block-size", "513"], "--logical-block-size 513: it must be 512"],
  [[...NULL, "--logical-block-size", "8192"], "--logical-block-size 8192"],
  [[...NULL, "--physical-block-size", "256"], "--physical-block-size 256"],
  [
    [...NULL, "--logical-block-size", "4096", "--physical-block-size", "512"],
    "less than the logical block size of 4096",
  ],
  [[...NULL, "--device-size", "4K"], "--device-size 4KiB: it must be from 1MiB"],
  [[...NULL, "--device-size", "65TiB"], "--device-size 65TiB"],
  [[...NULL, "--device-size", "1048577"], "--device-size 1048577: it must be a multiple of 4096"],
  [[...ADD, "--pool-size", "64KiB"], "--pool-size 64KiB: it must be from 1MiB"],
  [[...ADD, "--pool-size", "1TiB"], "--pool-size 1TiB"],
  [[...ADD, "--pool-size", "1MiB"], "--pool-size 1MiB: it must hold four requests of 512KiB"],
  [[...ADD, "--pool-size", "-1"], '--pool-size: "-1" is not a size'],
  [[...ADD, "--pool-size", "1.5"], '--pool-size: "1.5" is not a size'],
  [[...ADD, "--region-size", "0"], "--region-size 0: it must be a multiple of the logical block"],
  [[...ADD, "--region-size", "65537"], "--region-size 65537: it must be a multiple of the"],
  [
    [...ADD, "--region-size", "66048", "--logical-block-size", "4096"],
    "--region-size 66048: it must be a multiple of the logical block, 4096 bytes",
  ],
];

const IDENTITIES: readonly Row[] = [
  [[...REPLICA, "--replica", ""], "--replica: its value is empty"],
  [[...REPLICA, "--replica", "ftp://host/x"], '"ftp:" is not a known scheme'],
  [[...REPLICA, "--replica", "s3:bucket/x"], 'it does not begin with "s3://"'],
  [[...REPLICA, "--replica", `s3:///${UUID}`], '"" is not a bucket name'],
  [[...REPLICA, "--replica", `s3://Bucket/${UUID}`], '"Bucket" is not a bucket name'],
  [[...REPLICA, "--replica", `s3://key:pw@bucket/${UUID}`], "it holds credentials"],
  [[...REPLICA, "--replica", `s3://bucket/a//${UUID}`], "its key has an empty"],
  [[...REPLICA, "--replica", `s3://bucket/../${UUID}`], "its key has an empty"],
  [[...REPLICA, "--replica", "s3://bucket"], `is not the device's UUID ${UUID}`],
  [[...REPLICA, "--replica", "s3://bucket/other"], `is not the device's UUID ${UUID}`],
  [[...REPLICA, "--replica", `file://srv/${UUID}`], "Write three slashes"],
  [[...REPLICA, "--replica", `file:${UUID}`], "it has no absolute path"],
  [[...REPLICA, "--replica", "file:///"], "its path is the root"],
  [[...REPLICA, "--replica", `file:///a/../${UUID}`], "its path is the root or has an empty"],
  [[...REPLICA, "--replica", "/dev/vdc"], "has no in-place mirrors yet"],
  [[...ADD, "--s3-region", "eu-west-1"], "is not on S3"],
  [[...REPLICA, "--replica", `s3://bkt/${UUID}`, "--s3-endpoint", "host:9000"], "not an http or"],
  [
    [...REPLICA, "--replica", `s3://bkt/${UUID}`, "--s3-endpoint", "http://u:p@host"],
    "Cannot use the S3 endpoint",
  ],
  [[...REPLICA, "--replica", `s3://bkt/${UUID}`, "--s3-addressing", "dns"], "auto, path, host"],
  [[...ADD.slice(0, -4), "--uuid", "", ...ADD.slice(-2)], "--uuid: its value is empty"],
  [[...ADD.slice(0, -4), "--uuid", "123", ...ADD.slice(-2)], '--uuid: "123" is not a UUID'],
  [[...ADD, "--unix-socket", "x".repeat(108)], "its path has 108 bytes, more than 107"],
  [[...ADD, "--unix-socket", "dir/"], "it is not the path of a file"],
  [["status", "--unix-socket", "/x".repeat(60)], "its path has 120 bytes"],
];

const LATER: readonly Row[] = [
  ...["-r", "--user-recovery", "-u", "--user-copy", "-p", "--unprivileged", "-z", "--zero-copy"]
    .map((flag): Row => [[...ADD, flag], "this version does not have it yet"]),
  ...["-a", "--async-await", "--mlock", "--multi-cpus-affinity"]
    .map((flag): Row => [[...NULL, flag], "this version does not have it yet"]),
  [[...ADD, "--local-pool-size", "1MiB"], "Cannot use --local-pool-size 1MiB"],
  [[...ADD, "--recover-concurrency", "0"], "Cannot use --recover-concurrency 0"],
  [[...ADD, "--recover-concurrency", "65"], "Cannot use --recover-concurrency 65"],
  [[...ADD, "--congestion", "wait"], "Cannot read --congestion"],
  [[...ADD, "--resync-rate", "1KiB"], "Cannot use --resync-rate 1KiB"],
  [["recover", "-n", "0"], 'Cannot run "recover"'],
  [["restore", "--at", "3"], 'Use "export --at CNO"'],
  [["checkpoint"], 'Cannot run "checkpoint"'],
];

async function refuse(rows: readonly Row[]): Promise<void> {
  using world = new CliWorld();
  const before = world.snapshot();
  for (const [argv, part] of rows) {
    const { code, stdout, stderr } = await world.run(...argv);
    const line = argv.join(" ");
    assertEquals(code, 2, `${line}: exit code; ${stderr}`);
    assertEquals(stdout, "", `${line}: stdout`);
    assert(stderr.startsWith("hyper-io-replica: error: Cannot "), `${line}: ${stderr}`);
    assert(stderr.includes(part), `${line}: "${part}" is not in ${stderr}`);
  }
  assertEquals(world.snapshot(), before);
  assertEquals(world.platformCalls, []);
}

Deno.test("run() refuses command lines that it cannot read", () => refuse(COMMAND_LINES));
Deno.test("run() refuses numbers and sizes out of range", () => refuse(NUMBERS_AND_SIZES));
Deno.test("run() refuses wrong URIs, UUIDs and socket paths", () => refuse(IDENTITIES));
Deno.test("run() refuses what a later version brings", () => refuse(LATER));

Deno.test("run() reports errors as JSON with --json", async () => {
  using world = new CliWorld();
  const { code, stderr } = await world.run("add", "null", "-q", "0", "--json");
  assertEquals(code, 2);
  assertEquals(JSON.parse(stderr), {
    error: {
      kind: "usage",
      message: "Cannot use --queue 0: it must be from 1 to 32",
      exitCode: 2,
    },
  });
});

Deno.test("run() accepts the values that later versions will extend", async () => {
  using world = new CliWorld();
  const argv = [...ADD, "--local-pool-size", "0", "--recover-concurrency", "1", "--foreground"];
  const { stderr } = await world.run(...argv);
  assert(stderr.includes("Cannot start a device: none in this test"), stderr);
});
