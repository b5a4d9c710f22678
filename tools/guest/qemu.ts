// The QEMU command line of a guest.

import { diskArguments } from "./disks.ts";
import type { GuestParts } from "./kernel.ts";
import type { GuestOptions } from "./options.ts";

/** Virtio-serial ports between init.sh and guest.ts, each a unix socket in the job's directory. */
export const PORTS = ["console", "control", "stdout", "stderr", "events"] as const;
export type PortName = typeof PORTS[number];

/** File systems of this machine that the guest mounts: tag → virtiofsd's socket. */
export type Shares = ReadonlyMap<string, string>;

export interface MachineOptions {
  directory: string;
  parts: GuestParts;
  diskPaths: readonly string[];
  shares: Shares;
}

/** All arguments of qemu-system-x86_64. */
export function qemuArguments(options: GuestOptions, machine: MachineOptions): string[] {
  const { directory, parts } = machine;
  const memoryMib = options.memoryMib ?? 2048;
  const args = [
    ...parts.firmwarePaths.flatMap((path) => ["-L", path]),
    ...acceleratorArguments(),
    ...["-machine", "pc,memory-backend=ram"],
    ...["-object", `memory-backend-memfd,id=ram,size=${memoryMib}M,share=on`],
    ...["-m", `${memoryMib}M`, "-smp", String(options.cpus ?? 1)],
    ...["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"],
    ...["-kernel", parts.kernelImage, "-append", kernelCommandLine(directory)],
  ];
  for (const port of PORTS) {
    args.push("-chardev", `socket,id=${port},path=${directory}/${port}.sock`);
    if (port === "console") args.push("-serial", "chardev:console");
    else args.push("-device", `virtserialport,chardev=${port},name=${port}`);
  }
  if (options.shell) {
    args.push(
      "-chardev",
      "stdio,id=terminal,signal=off",
      "-device",
      "virtconsole,chardev=terminal",
    );
  }
  for (const [tag, socket] of machine.shares) {
    args.push("-chardev", `socket,id=fs-${tag},path=${socket}`);
    args.push("-device", `vhost-user-fs-pci,chardev=fs-${tag},tag=${tag}`);
  }
  if (options.network) {
    args.push("-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile=");
  }
  for (const [index, disk] of (options.disks ?? []).entries()) {
    args.push(...diskArguments(disk, index, machine.diskPaths[index]));
  }
  return args;
}

function kernelCommandLine(directory: string): string {
  return [
    "console=ttyS0",
    // Warnings and worse: kernelTrouble() looks for them.
    "loglevel=5",
    "rootfstype=virtiofs root=root ro",
    `init=${directory}/init guest_job=${directory}`,
    "hostname=guest",
    // A panic ends QEMU at once.
    "panic=-1",
    // A loaded machine must not make the guest fall back to a clock that is ten times slower to read.
    "tsc=reliable",
    "mitigations=off",
  ].join(" ");
}

/**
 * KVM where it really is hardware virtualisation, else emulation. A /dev/kvm on a machine whose CPU
 * shows neither vmx nor svm (nested software virtualisation, "PVM") opens and makes machines, but
 * emulates a stock kernel instruction by instruction: slower than TCG, and it fails at the first
 * instruction it does not know. GUEST_ACCEL=kvm or tcg decides otherwise.
 */
export function accelerator(): "kvm" | "tcg" {
  const wanted = Deno.env.get("GUEST_ACCEL");
  if (wanted === "kvm" || wanted === "tcg") return wanted;
  const hardware = /^flags\s*:.*\b(vmx|svm)\b/m.test(Deno.readTextFileSync("/proc/cpuinfo"));
  return hardware && isWritable("/dev/kvm") ? "kvm" : "tcg";
}

function acceleratorArguments(): string[] {
  return accelerator() === "kvm"
    ? ["-accel", "kvm", "-cpu", "host"]
    // Nehalem: with AVX, copies get four times slower under TCG.
    : ["-accel", "tcg,thread=multi,tb-size=2048", "-cpu", "Nehalem"];
}

function isWritable(path: string): boolean {
  try {
    Deno.openSync(path, { read: true, write: true }).close();
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}
