// Runs a command in a guest: tools/guest/run.ts --disk 1G -- sh -c 'mkfs.ext4 -q /dev/vda'.
// Exits with the command's exit code; 124 when its time was up, 125 when the guest failed.

import { Command, InvalidArgumentError } from "commander";
import { parseSize } from "../../src/base/units.ts";
import { Guest, type GuestResult, kernelTrouble } from "./guest.ts";
import type { DiskOptions, KernelName } from "./options.ts";
import { accelerator } from "./qemu.ts";

interface RunOptions {
  disk: DiskOptions[];
  share?: string;
  net?: boolean;
  memory: number;
  cpus: number;
  kernel?: KernelName;
  module: string[];
  timeLimit: number;
  shell?: boolean;
  verbose?: boolean;
}

/** A week: as good as none. */
const SHELL_LIMIT_MS = 7 * 24 * 3600 * 1000;

const DISK_HELP = `size or path, with options: 1G | disk.img | 2G,cache=writeback |
1G,bus=nvme,name=data,iops=200,log=writes.log,readonly,lbs=4096,pbs=4096`;

/** "1G,cache=none" or "file.img,bus=nvme" → a disk. */
function parseDisk(text: string, disks: DiskOptions[]): DiskOptions[] {
  const [target, ...settings] = text.split(",");
  const disk: DiskOptions = /^[\d.]+[kmgt]?(i?b)?$/i.test(target)
    ? { sizeBytes: parseSize(target, "--disk") }
    : { path: target };
  for (const setting of settings) applySetting(disk, setting);
  return [...disks, disk];
}

function applySetting(disk: DiskOptions, setting: string): void {
  const [key, value = ""] = setting.split("=");
  if (key === "cache") disk.cache = value as DiskOptions["cache"];
  else if (key === "bus") disk.bus = value as DiskOptions["bus"];
  else if (key === "name") disk.name = value;
  else if (key === "size") disk.sizeBytes = parseSize(value, "size");
  else if (key === "iops") disk.throttle = { ...disk.throttle, iopsTotal: Number(value) };
  else if (key === "bps") {
    disk.throttle = { ...disk.throttle, bytesPerSecond: parseSize(value, "bps") };
  } else if (key === "log") disk.writeLogPath = value;
  else if (key === "readonly") disk.readOnly = true;
  else if (key === "lbs") disk.logicalBlockBytes = parseSize(value, "lbs");
  else if (key === "pbs") disk.physicalBlockBytes = parseSize(value, "pbs");
  else throw new InvalidArgumentError(`A disk has no option "${key}"`);
}

function append(value: string, values: string[]): string[] {
  return [...values, value];
}

function report(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Says what the exit code cannot, and returns that code. */
function conclude(result: GuestResult, verbose: boolean): number {
  const trouble = kernelTrouble(result.kernelLog);
  const broken = result.outcome === "panic" || result.outcome === "died";
  if (verbose || broken) report(result.kernelLog + result.qemuLog);
  else if (trouble.length > 0) report(`guest: the kernel says:\n${trouble.join("\n")}`);
  if (verbose) report(`guest: ${result.outcome} after ${Math.round(result.elapsedMs)} ms`);
  if (result.outcome === "exited") return result.exitCode ?? 125;
  if (result.outcome === "time-limit") report("guest: the time was up; its power was cut");
  else if (broken) report(`guest: ${result.outcome === "panic" ? "kernel panic" : "QEMU ended"}`);
  return result.outcome === "time-limit" ? 124 : 125;
}

async function main(command: string[], options: RunOptions): Promise<number> {
  const guest = await Guest.start({
    command,
    disks: options.disk,
    share: options.share ? await Deno.realPath(options.share) : undefined,
    network: options.net,
    memoryMib: options.memory / 1024 ** 2,
    cpus: options.cpus,
    kernel: options.kernel,
    modules: options.module,
    timeLimitMs: options.shell ? SHELL_LIMIT_MS : options.timeLimit * 1000,
    shell: options.shell,
    echo: true,
  });
  Deno.addSignalListener("SIGTERM", () => void guest.powerCut());
  if (!options.shell) Deno.addSignalListener("SIGINT", () => void guest.powerCut());
  if (options.verbose) {
    const upMs = await guest.started.catch(() => NaN); // its end says why
    report(`guest: up in ${Math.round(upMs)} ms (${accelerator()})`);
  }
  return conclude(await guest.finished, options.verbose ?? false);
}

const program = new Command("guest")
  .description("Runs a command in a virtual machine with a stock kernel that has ublk.")
  .argument("[command...]", "program and arguments; after -- if they have options")
  .option("--disk <disk>", `add a disk: ${DISK_HELP}`, parseDisk, [])
  .option("--share <folder>", "folder that the guest may write to, at the same path")
  .option("--net", "network: this machine's 127.0.0.1 is 10.0.2.2 in the guest")
  .option("--memory <size>", "memory", (text) => parseSize(text, "--memory"), 2 * 1024 ** 3)
  .option("--cpus <number>", "processors", Number, 2)
  .option("--kernel <name>", "backports (6.12) or sid (7.x); also KERNEL=")
  .option("--module <name>", "kernel module to load first", append, [])
  .option("--time-limit <seconds>", "cut the power after this time", Number, 300)
  .option("--shell", "interactive shell instead of a command")
  .option("--verbose", "show the kernel's log, and how long the boot and the run took")
  .action(async (command: string[], options: RunOptions) => {
    if (command.length === 0 && !options.shell) program.error("Say which command to run");
    Deno.exit(await main(command, options));
  });
await program.parseAsync(Deno.args, { from: "user" });
