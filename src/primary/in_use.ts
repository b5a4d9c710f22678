// Who uses a block device or a file, as far as the kernel tells: mounts, swap, what is stacked on top
// of it (device mapper, RAID, loop), and the same of its partitions and of the disk it is part of.
//
// It names the users for the operator. The guarantee is elsewhere: BlockDevice.open({exclusive})
// makes the kernel refuse (other mount namespaces are not visible here, for one).
// Reads /proc and /sys only. Callers: format, start-up checks.

import { usageError } from "../base/errors.ts";
import { statPrimary } from "./block_device.ts";
import { deviceNumberText } from "./geometry.ts";
import { unlessMissing, unlessMissingSync } from "../base/files.ts";

export interface InUseOptions {
  /** Put before /proc and /sys; tests look at a made-up machine. */
  readonly root?: string;
}

/** What a primary is to the kernel. */
export interface PrimaryIdentity {
  /** Numbers of the device, its partitions and its disk; empty for a file. */
  readonly deviceNumbers: readonly string[];
  /** "major:minor:inode" of a regular file. */
  readonly file?: string;
}

/** Sentences about who uses it, for example "mounted on /srv"; empty: nobody that is visible. */
export async function findUses(path: string, options: InUseOptions = {}): Promise<string[]> {
  const identity = await identify(path, options);
  return usesOf(identity, options);
}

/** Throws a usage error that names the users, if there are any. */
export async function refuseInUse(path: string, options: InUseOptions = {}): Promise<void> {
  const uses = await findUses(path, options);
  if (uses.length === 0) return;
  throw usageError(`Cannot use ${path}: it is in use: ${uses.join(", ")}`, {
    hint: "Stop or unmount what uses it. --force does not help here, on purpose.",
    context: { path },
  });
}

async function identify(path: string, { root = "" }: InUseOptions): Promise<PrimaryIdentity> {
  const info = await statPrimary(path);
  if (info.isFile) return { deviceNumbers: [], file: fileIdentity(info) };
  return { deviceNumbers: relatedDevices(deviceNumberText(info.rdev ?? 0), root) };
}

function fileIdentity(info: Deno.FileInfo): string {
  return `${deviceNumberText(info.dev)}:${info.ino}`;
}

/** A device, its partitions, and the disk that it is a partition of. */
export function relatedDevices(deviceNumber: string, root = ""): string[] {
  const directory = `${root}/sys/dev/block/${deviceNumber}`;
  const related = [deviceNumber];
  for (const entry of namesIn(directory)) {
    const number = textOf(`${directory}/${entry}/dev`);
    if (number !== null && textOf(`${directory}/${entry}/partition`) !== null) related.push(number);
  }
  if (textOf(`${directory}/partition`) !== null) {
    const disk = textOf(`${directory}/../dev`);
    if (disk !== null) related.push(disk);
  }
  return related;
}

/** The users of an identity, by every table of the kernel that names one. */
export async function usesOf(
  identity: PrimaryIdentity,
  { root = "" }: InUseOptions,
): Promise<string[]> {
  return [
    ...mountsOf(identity, root),
    ...holdersOf(identity, root),
    ...await swapOf(identity, root),
    ...await loopsOf(identity, root),
  ];
}

function mountsOf({ deviceNumbers }: PrimaryIdentity, root: string): string[] {
  const lines = (textOf(`${root}/proc/self/mountinfo`) ?? "").split("\n");
  return lines.flatMap((line) => {
    // 36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    const [, , number, , target] = line.split(" ");
    const source = line.split(" - ")[1]?.split(" ")[1];
    const used = deviceNumbers.includes(number) ||
      (source?.startsWith("/dev/") && deviceNumbers.includes(numberOfNode(source)));
    return used ? [`mounted on ${unescapeOctal(target)}`] : [];
  });
}

function holdersOf({ deviceNumbers }: PrimaryIdentity, root: string): string[] {
  return deviceNumbers.flatMap((number) =>
    namesIn(`${root}/sys/dev/block/${number}/holders`).map((holder) => `held by ${holder}`)
  );
}

async function swapOf(identity: PrimaryIdentity, root: string): Promise<string[]> {
  const lines = (textOf(`${root}/proc/swaps`) ?? "").split("\n").slice(1);
  const paths = lines.map((line) => unescapeOctal(line.split(/\s/)[0])).filter(Boolean);
  const used = await Promise.all(paths.map((path) => isSame(identity, path)));
  return used.includes(true) ? ["used as swap"] : [];
}

async function loopsOf(identity: PrimaryIdentity, root: string): Promise<string[]> {
  const loops = namesIn(`${root}/sys/block`).filter((name) => name.startsWith("loop"));
  const uses: string[] = [];
  for (const loop of loops) {
    const backing = textOf(`${root}/sys/block/${loop}/loop/backing_file`);
    if (backing !== null && await isSame(identity, backing)) uses.push(`used by /dev/${loop}`);
  }
  return uses;
}

async function isSame(identity: PrimaryIdentity, path: string): Promise<boolean> {
  const info = await unlessMissing(Deno.stat(path));
  // A path of another mount namespace, or a deleted file: not ours to see.
  if (info === null) return false;
  if (info.isBlockDevice) {
    return identity.deviceNumbers.includes(deviceNumberText(info.rdev ?? 0));
  }
  return identity.file !== undefined && identity.file === fileIdentity(info);
}

function numberOfNode(path: string): string {
  const info = unlessMissingSync(() => Deno.statSync(path));
  return info === null ? "" : deviceNumberText(info.rdev ?? 0);
}

/** The kernel writes space, tab, newline and backslash in its tables as \040 and so on. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(parseInt(digits, 8)));
}

function textOf(path: string): string | null {
  return unlessMissingSync(() => Deno.readTextFileSync(path).trim());
}

function namesIn(path: string): string[] {
  const entries = unlessMissingSync(() => [...Deno.readDirSync(path)]);
  return (entries ?? []).map(({ name }) => name).sort();
}
