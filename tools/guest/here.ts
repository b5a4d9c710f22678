// The guest's interface on this machine itself, for machines whose kernel has ublk: the same command,
// the same variables (DISK0…, GUEST_SHARE), disks as loop devices. What only a virtual machine can do
// (cut the power, boot another kernel, a disk with faults) is refused here.

import { prepareDisk } from "./disks.ts";
import { runGuest } from "./guest.ts";
import { quote } from "./job.ts";
import type { DiskOptions, GuestOptions, GuestOutcome, GuestResult } from "./options.ts";
import { run } from "./process.ts";

/** Runs the command where ublk is: on this machine if its kernel has it, else in a guest. */
export function runWithUblk(options: GuestOptions): Promise<GuestResult> {
  return hasUblk() && !needsGuest(options) ? runHere(options) : runGuest(options);
}

/** Whether this machine's own kernel has ublk loaded and lets us use it. */
export function hasUblk(): boolean {
  try {
    Deno.openSync("/dev/ublk-control", { read: true, write: true }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    if (error instanceof Deno.errors.PermissionDenied) return false;
    throw error;
  }
}

/** The first option that this machine itself can't offer. */
export function needsGuest(options: GuestOptions): string | undefined {
  const { kernel, network, modules, disks = [] } = options;
  // 10.0.2.2 exists only in a guest.
  const asked = Object.entries({ kernel, network, modules })
    .find(([, value]) => value !== undefined);
  if (asked) return asked[0];
  const special: (keyof DiskOptions)[] = ["faults", "throttle", "writeLogPath", "bus", "cache"];
  return special.find((option) => disks.some((disk) => disk[option] !== undefined));
}

/** Runs the command on this machine. */
export async function runHere(options: GuestOptions): Promise<GuestResult> {
  const obstacle = needsGuest(options);
  if (obstacle !== undefined) throw new Error(`Cannot run here: "${obstacle}" needs a guest`);
  const directory = await Deno.makeTempDir({ prefix: "here-" });
  const loops: string[] = [];
  try {
    for (const [index, disk] of (options.disks ?? []).entries()) {
      loops.push(await attachLoop(disk, await prepareDisk(disk, index, directory)));
    }
    return await runCommand(options, loops, directory);
  } finally {
    for (const loop of loops) await run("losetup", ["--detach", loop]);
    await Deno.remove(directory, { recursive: true });
  }
}

async function attachLoop(disk: DiskOptions, path: string): Promise<string> {
  const args = ["--find", "--show", "--direct-io=on"];
  if (disk.readOnly) args.push("--read-only");
  if (disk.logicalBlockBytes) args.push(`--sector-size=${disk.logicalBlockBytes}`);
  return (await run("losetup", [...args, path])).trim();
}

async function runCommand(
  options: GuestOptions,
  loops: string[],
  directory: string,
): Promise<GuestResult> {
  const startedAtMs = performance.now();
  const { command, env, timeLimitMs = 300_000 } = options;
  const script = typeof command === "string" ? command : command.map(quote).join(" ");
  await Deno.writeTextFile(`${directory}/command`, `${script}\n`);
  const disks = Object.fromEntries(loops.map((loop, index) => [`DISK${index}`, loop]));
  // Output goes to files: a daemon that the command leaves behind would hold pipes open.
  const child = new Deno.Command("setsid", {
    args: ["bash", "-c", 'exec bash "$0/command" >"$0/stdout" 2>"$0/stderr"', directory],
    cwd: options.cwd,
    env: {
      ...disks,
      GUEST_SHARE: options.share ?? "",
      GUEST_EVENTS: `${directory}/events`,
      ...env,
    },
    stdin: "null",
  }).spawn();
  let outcome: GuestOutcome = "exited";
  const limit = setTimeout(() => {
    outcome = "time-limit";
    // The command leads a session; so the limit ends whatever it started, too.
    new Deno.Command("pkill", { args: ["-KILL", "--session", String(child.pid)] }).outputSync();
  }, timeLimitMs);
  const status = await child.status;
  clearTimeout(limit);
  return {
    outcome,
    exitCode: outcome === "exited" ? status.code : undefined,
    stdout: await Deno.readTextFile(`${directory}/stdout`),
    stderr: await Deno.readTextFile(`${directory}/stderr`),
    kernelLog: "",
    qemuLog: "",
    elapsedMs: performance.now() - startedAtMs,
  };
}
