// `make demo`: a replicated block device at work, on real files, with everything checked in the end.
// Runs on this machine where its kernel has ublk, else in a guest. The last line is "demo: OK", or
// says what failed. Leaves nothing behind, also after a signal.

import { statfs } from "node:fs/promises";
import { Command, Option } from "commander";
import { alignUp, formatSize, MiB, parseSize } from "../src/base/units.ts";
import { formatDuration } from "../src/cli/duration.ts";
import { type S3Server, startS3Server } from "../tests/support/s3_server.ts";
import { chooseFiles, FOLDERS } from "./demo/files.ts";
import { type DemoJob, NAMES } from "./demo/job.ts";
import { DemoError } from "./demo/stage.ts";
import { runSteps } from "./demo/steps.ts";
import { Guest, kernelTrouble } from "./guest/guest.ts";
import { hasUblk } from "./guest/here.ts";
import { accelerator } from "./guest/qemu.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const LIMITS = { leastBytes: 8 * MiB, mostBytes: 4096 * MiB };
const GUEST_LIMIT_MS = 20 * 60_000;
const LOG_LINES_MAX = 40;
/** Primary, replica and image. */
const COPIES = 3;

interface DemoOptions {
  readonly size: number;
  readonly replica: "file" | "s3";
  readonly from: readonly string[];
  readonly program: string;
}

function say(text: string): void {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Runs the demo in a folder of its own; resolves with the exit code. */
async function main(options: DemoOptions): Promise<number> {
  const startedMs = performance.now();
  const { leastBytes, mostBytes } = LIMITS;
  if (options.size < leastBytes || options.size > mostBytes) {
    throw new DemoError(`the size must be ${formatSize(leastBytes)} to ${formatSize(mostBytes)}`);
  }
  const interruption = new AbortController();
  const directory = await Deno.makeTempDir({
    dir: Deno.env.get("TMPDIR") ?? "/var/tmp",
    prefix: "demo-",
  });
  endOnSignals(interruption, directory);
  let server: S3Server | undefined;
  try {
    if (options.replica === "s3") server = await startS3Server();
    await runIn(directory, { options, server, signal: interruption.signal });
    interruption.signal.throwIfAborted();
    say(
      `\nAll that took ${formatDuration(performance.now() - startedMs)}; it leaves nothing behind.`,
    );
    return 0;
  } catch (error) {
    if (interruption.signal.aborted) {
      say("\ndemo: interrupted; everything it had made is gone");
      return 130;
    }
    await showLog(directory);
    say(`\ndemo: FAILED: ${error instanceof DemoError ? error.message : explain(error)}`);
    return 1;
  } finally {
    server?.stop();
    await Deno.remove(directory, { recursive: true });
  }
}

/** The first signal ends the demo tidily; a second one does not wait for that. */
function endOnSignals(interruption: AbortController, directory: string): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => {
      if (!interruption.signal.aborted) return interruption.abort();
      say(`\ndemo: interrupted again; ${directory} may be left`);
      Deno.exit(130);
    });
  }
}

interface Run {
  readonly options: DemoOptions;
  readonly server: S3Server | undefined;
  readonly signal: AbortSignal;
}

async function runIn(directory: string, { options, server, signal }: Run): Promise<void> {
  const primaryBytes = alignUp(Math.round(options.size * 1.5), MiB) + 64 * MiB;
  await checkSpace(directory, COPIES * primaryBytes);
  const inGuest = !hasUblk();
  say(introduction(options, inGuest));
  const files = await chooseFiles(directory, { folders: options.from, wantedBytes: options.size });
  signal.throwIfAborted();
  const job = {
    program: options.program,
    directory,
    ...await replicaPlace(directory, server, inGuest),
    files,
    isTerminal: Deno.stdout.isTerminal(),
    isDisposable: inGuest,
  };
  if (inGuest) return await runInGuest(job, primaryBytes, signal);
  const primary = `${directory}/drive.img`;
  await Deno.writeFile(primary, new Uint8Array(0));
  await Deno.truncate(primary, primaryBytes);
  await runSteps({ ...job, primary }, signal);
}

function introduction({ size, replica }: DemoOptions, inGuest: boolean): string {
  const where = replica === "s3" ? "on an S3 server started for it" : "in a folder";
  const machine = inGuest
    ? "This kernel has no ublk, so all of it happens in a virtual machine with a stock Debian\n" +
      "kernel that sees this machine's files" +
      (accelerator() === "tcg" ? "; its CPU is emulated, so expect a tenth of the speed." : ".")
    : "This machine's kernel has ublk, so all of it happens right here.";
  return `A drive, a replica ${where}, and ${
    formatSize(size)
  } of this machine's files.\n${machine}`;
}

async function checkSpace(directory: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize >= neededBytes) return;
  throw new DemoError(
    `${directory} has only ${formatSize(bavail * bsize)}, ${formatSize(neededBytes)} are needed: ` +
      "give a smaller SIZE, or a TMPDIR with more room",
  );
}

/** Where format creates the replica, and the settings to get there. */
async function replicaPlace(
  directory: string,
  server: S3Server | undefined,
  inGuest: boolean,
): Promise<Pick<DemoJob, "replicaRoot" | "env">> {
  if (!server) return { replicaRoot: `file://${directory}/replicas`, env: {} };
  const { bucket, region, credentials } = await server.createRoot();
  if (!credentials) throw new Error("The S3 server has no credentials");
  return {
    replicaRoot: `s3://${bucket}/replicas`,
    env: {
      // A guest reaches this machine at 10.0.2.2.
      AWS_ENDPOINT_URL: inGuest ? `http://10.0.2.2:${server.port}` : server.endpoint,
      AWS_REGION: region ?? "us-east-1",
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  };
}

async function runInGuest(
  job: Omit<DemoJob, "primary">,
  primaryBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const jobPath = `${job.directory}/job.json`;
  await Deno.writeTextFile(jobPath, JSON.stringify({ ...job, primary: "/dev/vda" }));
  const inside = new URL("demo/inside.ts", import.meta.url).pathname;
  const config = ["--config", `${ROOT}deno.json`];
  const guest = await Guest.start({
    command: [Deno.execPath(), "run", "-A", "--quiet", "--cached-only", ...config, inside, jobPath],
    disks: [{ path: `${job.directory}/drive.img`, sizeBytes: primaryBytes }],
    share: job.directory,
    network: job.env.AWS_ENDPOINT_URL !== undefined,
    modules: ["loop", "ext4"],
    timeLimitMs: GUEST_LIMIT_MS,
    echo: true,
  });
  function cut(): void {
    guest.powerCut().catch(() => undefined); // `finished` below says it
  }
  if (signal.aborted) cut();
  else signal.addEventListener("abort", cut);
  const started = guest.started.then(
    (ms) => say(`It is up after ${formatDuration(ms)}.`),
    () => undefined,
  );
  const { outcome, exitCode, kernelLog, qemuLog } = await guest.finished;
  await started;
  signal.throwIfAborted();
  const trouble = kernelTrouble(kernelLog);
  if (outcome === "exited" && exitCode === 0 && trouble.length === 0) return;
  if (outcome === "time-limit") {
    throw new DemoError(`not done after ${formatDuration(GUEST_LIMIT_MS)}`);
  }
  if (trouble.length > 0) throw new DemoError(`the guest's kernel says:\n${trouble.join("\n")}`);
  if (outcome !== "exited") throw new DemoError(`the guest ${outcome}:\n${kernelLog}${qemuLog}`);
  throw new DemoError(
    await readIfThere(`${job.directory}/${NAMES.failure}`) ?? `exit code ${exitCode} in the guest`,
  );
}

/** The end of the daemon's log. */
async function showLog(directory: string): Promise<void> {
  for (const entry of await entriesOf(`${directory}/${NAMES.run}`)) {
    if (!entry.name.endsWith(".log")) continue;
    const text = await Deno.readTextFile(`${directory}/${NAMES.run}/${entry.name}`);
    const lines = text.trimEnd().split("\n");
    say(`\nThe end of the daemon's log:\n${lines.slice(-LOG_LINES_MAX).join("\n")}`);
  }
}

async function entriesOf(path: string): Promise<Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function explain(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

const program = new Command("demo")
  .description("Shows a replicated block device at work, and checks what comes out of the replica.")
  .option(
    "--size <size>",
    "how much to copy",
    (text) => parseSize(text, "--size"),
    256 * MiB,
  )
  .addOption(
    new Option("--replica <place>", "where the replica is").choices(["file", "s3"]).default("file"),
  )
  .option("--from <folder...>", "the folders to copy from", [...FOLDERS])
  .option("--program <path>", "the program to show", `${ROOT}build/hyper-io-replica`)
  .action(async (options: DemoOptions) => {
    const code = await main(options);
    if (code === 0) say("demo: OK");
    Deno.exit(code);
  });
await program.parseAsync(Deno.args, { from: "user" });
