// What init.sh finds in the guest: a directory of this machine with the command, the settings and
// init.sh itself. The guest sees it at the same path, read-only, so nothing has to be quoted twice.

import { diskName } from "./disks.ts";
import type { GuestParts } from "./kernel.ts";
import type { GuestOptions } from "./options.ts";

/** Variables of this process that the command gets too: both see the same files. */
const INHERITED = ["PATH", "DENO_DIR", "DENO_NO_UPDATE_CHECK", "NO_COLOR", "TERM", "LANG"];

/** Writes init, settings and command into `directory`. */
export async function writeJob(
  directory: string,
  options: GuestOptions,
  parts: GuestParts,
): Promise<void> {
  const init = new URL("init.sh", import.meta.url);
  await Deno.copyFile(init, `${directory}/init`);
  await Deno.chmod(`${directory}/init`, 0o755);
  const { command } = options;
  const script = typeof command === "string" ? command : command.map(quote).join(" ");
  await Deno.writeTextFile(`${directory}/command`, `${script}\n`);
  await Deno.writeTextFile(`${directory}/settings`, settings(options, parts));
}

function settings(options: GuestOptions, parts: GuestParts): string {
  const environment = { ...inheritedEnvironment(), ...options.env };
  const disks = (options.disks ?? []).map(diskName);
  const modules = [...new Set(["virtio_blk", "ublk_drv", ...(options.modules ?? [])])];
  if (options.network) modules.push("virtio_net");
  if (options.disks?.some((disk) => disk.bus === "nvme")) modules.push("nvme");
  const own: Record<string, string> = {
    job_cwd: options.cwd ?? Deno.cwd(),
    job_share: options.share ?? "",
    job_modules: modules.join(" "),
    job_modules_path: parts.modulesPath,
    job_release: parts.kernelRelease,
    job_disks: disks.join(" "),
    job_network: options.network ? "1" : "",
    job_shell: options.shell ? terminalSize() : "",
  };
  return [
    ...Object.entries(own).map(([name, value]) => `${name}=${quote(value)}`),
    ...Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`),
    "",
  ].join("\n");
}

/** "rows R cols C", as stty takes it. */
function terminalSize(): string {
  const { rows, columns } = Deno.stdin.isTerminal()
    ? Deno.consoleSize()
    : { rows: 24, columns: 80 };
  return `rows ${rows} cols ${columns}`;
}

export function inheritedEnvironment(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of INHERITED) {
    const value = Deno.env.get(name);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** One word of a POSIX shell. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
