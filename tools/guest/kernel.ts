// Gets the guest's parts from Debian into .deps/guest/: a stock kernel with its modules, and a QEMU
// that can be trusted under TCG (QEMU 7.2 crashes one guest in four). They are fetched with an apt
// state of their own and unpacked, never installed; a second call finds them and returns at once.

import { run } from "./process.ts";
import type { KernelName } from "./options.ts";

export interface GuestParts {
  /** Uncompressed kernel image: boots 0.7 s faster than the compressed one. */
  readonly kernelImage: string;
  readonly kernelRelease: string;
  /** Directory to mount as /lib/modules/RELEASE. */
  readonly modulesPath: string;
  readonly qemuPath: string;
  /** Directories of firmware, for -L. */
  readonly firmwarePaths: readonly string[];
}

const DEPS = new URL("../../.deps/guest/", import.meta.url).pathname;
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SUITES: Readonly<Record<KernelName | "qemu", string>> = {
  backports: "bookworm-backports",
  sid: "sid",
  qemu: "bookworm-backports",
};

/** The parts of a guest with the given kernel; downloads what is not there yet (50 MB, seconds). */
export async function guestParts(kernel: KernelName): Promise<GuestParts> {
  await Deno.mkdir(DEPS, { recursive: true });
  const lock = await Deno.open(`${DEPS}lock`, { create: true, write: true });
  await lock.lock(true);
  try {
    const qemu = await obtain("qemu", fetchQemu);
    const kernelDir = await obtain(kernel, (into) => fetchKernel(kernel, into));
    const release = (await Deno.readTextFile(`${kernelDir}/release`)).trim();
    return {
      kernelImage: `${kernelDir}/vmlinux`,
      kernelRelease: release,
      modulesPath: `${kernelDir}/lib/modules/${release}`,
      qemuPath: `${qemu}/usr/bin/qemu-system-x86_64`,
      firmwarePaths: [`${qemu}/usr/share/qemu`, `${qemu}/usr/share/seabios`],
    };
  } finally {
    lock.close();
  }
}

/** Fills DEPS/name once: into a temporary directory that is renamed when it is complete. */
async function obtain(name: string, fill: (into: string) => Promise<void>): Promise<string> {
  const path = `${DEPS}${name}`;
  if (await exists(`${path}/complete`)) return path;
  await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
  const into = `${path}.new`;
  await Deno.remove(into, { recursive: true }).catch(ignoreMissing);
  await Deno.mkdir(into, { recursive: true });
  await fill(into);
  await Deno.writeTextFile(`${into}/complete`, "");
  await Deno.rename(into, path);
  return path;
}

async function fetchQemu(into: string): Promise<void> {
  const apt = await aptOptions(SUITES.qemu);
  const names = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
  await downloadAndUnpack(apt, names, into);
}

async function fetchKernel(kernel: KernelName, into: string): Promise<void> {
  const apt = await aptOptions(SUITES[kernel]);
  const plain = ["--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"];
  const tree = await run("apt-cache", [
    ...apt,
    ...["depends", "--recurse", ...plain, "--no-replaces", "linux-image-cloud-amd64"],
  ]);
  // Sid splits the image into linux-image, linux-binary and linux-modules of one release.
  const names = tree.split("\n").filter((name) => /^linux-[a-z]+-\d[^ ]*-cloud-amd64$/.test(name));
  await downloadAndUnpack(apt, [...new Set(names)], into);
  // Where /lib is a link to /usr/lib, the package has its modules there.
  if (await exists(`${into}/usr/lib/modules`)) {
    await Deno.mkdir(`${into}/lib`, { recursive: true });
    await Deno.rename(`${into}/usr/lib/modules`, `${into}/lib/modules`);
  }
  const releases: string[] = [];
  for await (const entry of Deno.readDir(`${into}/lib/modules`)) releases.push(entry.name);
  const release = releases[0];
  // Plain modules load faster than compressed ones where the CPU is emulated.
  await run(
    "sh",
    ["-c", `find "$1" -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n64 xz -d`, "sh"]
      .concat(`${into}/lib/modules`),
  );
  await run("/sbin/depmod", ["-b", into, release]);
  const inBoot = `${into}/boot/vmlinuz-${release}`;
  const bzImage = await exists(inBoot) ? inBoot : `${into}/lib/modules/${release}/vmlinuz`;
  await extractVmlinux(bzImage, `${into}/vmlinux`);
  await Deno.writeTextFile(`${into}/release`, release);
}

/** Apt options that keep a suite's lists and downloads to ourselves; the lists are brought up to date. */
async function aptOptions(suite: string): Promise<string[]> {
  const state = `${DEPS}apt/${suite}`;
  for (const directory of ["lists/partial", "cache/archives/partial"]) {
    await Deno.mkdir(`${state}/${directory}`, { recursive: true });
  }
  const mirror = await debianMirror();
  await Deno.writeTextFile(
    `${state}/sources.list`,
    `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`,
  );
  const options = [
    `Dir::Etc::sourcelist=${state}/sources.list`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::Lists=${state}/lists`,
    `Dir::Cache=${state}/cache`,
    "APT::Sandbox::User=root",
    // A snapshot of sid may be older than its own expiry date.
    "Acquire::Check-Valid-Until=false",
  ].flatMap((option) => ["-o", option]);
  await run("apt-get", [...options, "-q", "update"]);
  return options;
}

/** The Debian mirror that this machine is set up for. */
async function debianMirror(): Promise<string> {
  const format = ["--format", "$(REPO_URI) $(ORIGIN) $(CODENAME)"];
  const targets = await run("apt-get", ["indextargets", ...format]);
  for (const line of targets.split("\n")) {
    const match = /^(\S+) Debian [a-z]+$/.exec(line);
    if (match) return match[1];
  }
  throw new Error("Cannot fetch a guest kernel: apt knows no Debian mirror; run apt-get update");
}

async function downloadAndUnpack(apt: string[], names: string[], into: string): Promise<void> {
  const packages = `${into}/deb`;
  await Deno.mkdir(packages);
  const versioned = [];
  for (const name of names) {
    const table = await run("apt-cache", [...apt, "madison", name]);
    const versions = table.split("\n").filter((line) =>
      line.includes("|") && !/ Sources/.test(line)
    );
    // apt-cache also lists what is installed; the suite's own version comes with an address.
    versioned.push(`${name}=${versions[0].split("|")[1].trim()}`);
  }
  await run("apt-get", [...apt, "-q", "download", ...versioned], { cwd: packages });
  for await (const entry of Deno.readDir(packages)) {
    await run("dpkg-deb", ["-x", `${packages}/${entry.name}`, into]);
  }
  await Deno.remove(packages, { recursive: true });
}

/** Finds the compressed ELF image inside a bzImage and unpacks it. */
async function extractVmlinux(bzImage: string, output: string): Promise<void> {
  const image = await Deno.readFile(bzImage);
  const formats: readonly (readonly [number[], string])[] = [
    [[0x28, 0xb5, 0x2f, 0xfd], "zstd -dcq"],
    [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], "xz -dc --single-stream"],
    [[0x1f, 0x8b, 8], "gzip -dcq"],
  ];
  for (const [magic, command] of formats) {
    for (let at = indexOf(image, magic, 0); at >= 0; at = indexOf(image, magic, at + 1)) {
      // Trailing bytes after the stream make the tools complain: what counts is what came out.
      await run(
        "sh",
        ["-c", `tail -c +${at + 1} "$1" | ${command} > "$2" 2>/dev/null || true`, "sh"]
          .concat(bzImage, output),
      );
      using unpacked = await Deno.open(output);
      const head = new Uint8Array(4);
      if (await unpacked.read(head) === 4 && indexOf(head, [0x7f, 0x45, 0x4c, 0x46], 0) === 0) {
        return;
      }
    }
  }
  throw new Error(`Cannot unpack ${bzImage}: no compressed ELF image in it`);
}

function indexOf(bytes: Uint8Array, pattern: number[], from: number): number {
  for (let at = bytes.indexOf(pattern[0], from); at >= 0; at = bytes.indexOf(pattern[0], at + 1)) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
