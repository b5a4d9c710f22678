// Runs inside the guest: three devices of ours and the bare disk side by side, fio on one after the
// other, round after round. Takes a GuestJob as JSON, writes a GuestRun to $GUEST_SHARE/guest.json;
// says on stdout what it is doing. Disks: 0 is bare, 1 is behind loop, 2 is behind io-replica.
//
// The replica lies in the guest's memory, so that its backing is never what limits; before each run of
// fio the replica has caught up, so that no target pays for what another left behind.

import { MiB } from "../../src/base/units.ts";
import { stats, status } from "../../src/control/client.ts";
import {
  type Drain,
  type GuestJob,
  type GuestRun,
  type Row,
  ROWS,
  type Sample,
  type TargetName,
  TARGETS,
} from "./guest_results.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SOCKET = "/run/bench.sock";
const REPLICA = "/run/bench-replica";
const POLL_MS = 50;
const CATCH_UP_MS = 300_000;

type Paths = Readonly<Record<TargetName, string>>;

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

async function run(program: string, ...args: string[]): Promise<string> {
  const output = await new Deno.Command(program, { args, stdin: "null" }).output();
  const decoder = new TextDecoder();
  if (output.success) return decoder.decode(output.stdout);
  const what = decoder.decode(output.stderr) + decoder.decode(output.stdout);
  const end = output.signal ?? `exit code ${output.code}`;
  throw new Error(`${program} ${args.join(" ")}: ${end} ${what}`);
}

function program(...args: string[]): Promise<string> {
  return run(`${ROOT}build/hyper-io-replica`, ...args);
}

function disk(index: number): string {
  const path = Deno.env.get(`DISK${index}`);
  if (path === undefined) throw new Error(`Cannot measure: there is no $DISK${index}`);
  return path;
}

async function startDevices(job: GuestJob): Promise<Paths> {
  await Deno.mkdir(REPLICA);
  await run("mount", "-t", "tmpfs", "-o", "size=90%", "tmpfs", REPLICA);
  const size = String(job.spanBytes);
  await program("add", "null", "-n", "0", "--device-size", size, "--quiet");
  await program("add", "loop", "-n", "1", "-f", disk(1), "--device-size", size, "--quiet");
  const formatted = await program(
    ...["format", "-f", disk(2), "--replica", `file://${REPLICA}`, "--device-size", size],
  );
  const [, uuid, replica] = /uuid: ([^\s,]+), replica_uri: (\S+)/.exec(formatted) ?? [];
  await program(
    ...["add", "io-replica", "-n", "2", "-f", disk(2), "--replica", replica, "--uuid", uuid],
    ...["--pool-size", String(job.poolBytes), "--unix-socket", SOCKET, "--quiet"],
  );
  return { bare: disk(0), null: "/dev/ublkb0", loop: "/dev/ublkb1", replica: "/dev/ublkb2" };
}

/** Every block written once, so that nothing is read from holes or allocated later. */
async function prefill(paths: Paths, job: GuestJob): Promise<void> {
  for (const target of TARGETS) {
    if (target === "null") continue;
    await run(
      "fio",
      ...["--name=fill", `--filename=${paths[target]}`, `--size=${job.spanBytes}`],
      ...["--rw=write", "--bs=512k", "--iodepth=4", "--ioengine=io_uring", "--direct=1"],
    );
  }
}

/** All kinds of requests at once, so that V8 has compiled what the measured runs use. */
async function warmUp(paths: Paths, job: GuestJob): Promise<void> {
  await run(
    "fio",
    ...[`--size=${job.spanBytes}`, "--rw=randrw", "--bs=4k", "--iodepth=8", "--norandommap"],
    ...["--ioengine=io_uring", "--direct=1", "--time_based", `--runtime=${job.warmUpSeconds}`],
    ...["null", "loop", "replica"].flatMap((target) => [
      `--name=${target}`,
      `--filename=${paths[target as TargetName]}`,
    ]),
  );
}

/** One job per target, one after the other; the first second of each does not count. */
function jobFile(row: Row, round: number, paths: Paths, job: GuestJob): string {
  const by = round % TARGETS.length;
  const order = [...TARGETS.slice(by), ...TARGETS.slice(0, by)];
  return [
    "[global]",
    ...["ioengine=io_uring", "direct=1", "time_based=1", "randrepeat=0", "norandommap=1"],
    ...[`rw=${row.rw}`, `bs=${row.blockBytes}`, `iodepth=${row.depth}`],
    ...["ramp_time=1", `runtime=${job.seconds}`, `size=${job.spanBytes}`],
    ...order.flatMap((target) => [`[${target}]`, "stonewall", `filename=${paths[target]}`]),
    "",
  ].join("\n");
}

interface FioSide {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

interface FioJob {
  readonly jobname: TargetName;
  readonly error: number;
  readonly read: FioSide;
  readonly write: FioSide;
}

async function measure(row: Row, round: number, file: string): Promise<Sample[]> {
  await Deno.writeTextFile("/run/bench.fio", file);
  const output = await run("fio", "--output-format=json", "/run/bench.fio");
  // fio may print notes before its JSON.
  const { jobs }: { jobs: FioJob[] } = JSON.parse(output.slice(output.indexOf("{")));
  return jobs.map((job) => {
    if (job.error !== 0) throw new Error(`fio on ${job.jobname}: error ${job.error}`);
    const side = row.rw.endsWith("read") ? job.read : job.write;
    const percentile = side.clat_ns.percentile ?? {};
    return {
      row: row.name,
      target: job.jobname,
      round,
      iops: side.iops,
      bytesPerSecond: side.bw_bytes,
      p50Us: percentile["50.000000"] / 1000,
      p99Us: percentile["99.000000"] / 1000,
    };
  });
}

/** Waits until the replica has everything. */
async function catchUp(): Promise<{ lagBytes: number; seconds: number }> {
  const sinceMs = performance.now();
  let lagBytes = -1;
  while (performance.now() - sinceMs < CATCH_UP_MS) {
    const { lag, replicaErrors } = await status(SOCKET);
    if (replicaErrors?.last) throw new Error(`The replica: ${replicaErrors.last.message}`);
    if (lagBytes < 0) lagBytes = lag?.bytes ?? 0;
    if (lag?.bytes === 0) return { lagBytes, seconds: (performance.now() - sinceMs) / 1000 };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error("The replica does not catch up");
}

async function poolWaits(): Promise<number> {
  return (await stats(SOCKET)).counters.poolWaits ?? 0;
}

function report(job: GuestJob, samples: readonly Sample[], drain: Drain): void {
  const figures = TARGETS.map((target) => {
    const sample = samples.find((one) => one.target === target);
    return `${target} ${sample?.iops.toFixed(0)}`;
  });
  const lag = drain.lagBytes > 0
    ? `; replica ${(drain.lagBytes / MiB).toFixed(0)} MiB behind, ${drain.seconds.toFixed(1)} s`
    : "";
  say(`${drain.round + 1}/${job.rounds} ${drain.row}: ${figures.join(", ")} IOPS${lag}`);
}

async function main(job: GuestJob): Promise<GuestRun> {
  const paths = await startDevices(job);
  say("devices are up; writing every block once");
  await prefill(paths, job);
  say(`warming up for ${job.warmUpSeconds} s`);
  await warmUp(paths, job);
  await catchUp();
  const samples: Sample[] = [];
  const drains: Drain[] = [];
  for (let round = 0; round < job.rounds; round++) {
    for (const row of ROWS) {
      const waitsBefore = await poolWaits();
      const taken = await measure(row, round, jobFile(row, round, paths, job));
      const caughtUp = await catchUp();
      const waits = await poolWaits() - waitsBefore;
      const drain: Drain = { row: row.name, round, ...caughtUp, poolWaits: waits };
      samples.push(...taken);
      drains.push(drain);
      report(job, taken, drain);
    }
  }
  for (const number of ["0", "1", "2"]) await program("del", "-n", number);
  const kernel = (await run("uname", "-r")).trim();
  return { ...job, kernel, samples, drains };
}

const result = await main(JSON.parse(Deno.args[0]));
await Deno.writeTextFile(`${Deno.env.get("GUEST_SHARE")}/guest.json`, JSON.stringify(result));
