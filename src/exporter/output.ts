// The place that the operator named for an export: looked at first, claimed when the replica is known
// to be there. Nothing is changed before both.
//
// Refused even with force: what is in use, and primaries - their metadata would go on to claim that
// the data is what the device last held.

import { usageError } from "../base/errors.ts";
import { unlessMissingSync } from "../base/files.ts";
import { alignUp, formatSize } from "../base/units.ts";
import { BlockDevice, statPrimary } from "../primary/block_device.ts";
import { refuseInUse } from "../primary/in_use.ts";
import { readSuperblock } from "../primary/metadata.ts";
import { DeviceTarget } from "./device_target.ts";
import { ImageFile } from "./image_file.ts";
import type { ExportTarget } from "./target.ts";

export interface Output {
  readonly path: string;
  readonly what: "new file" | "file" | "block device";
}

/** Looks at the output; usage errors for what an export may not overwrite. */
export async function inspectOutput(
  path: string,
  { force }: { force: boolean },
): Promise<Output> {
  if (!isThere(path)) {
    if (path.endsWith("/")) throw usageError(`Cannot export to ${path}: it is not a file's name`);
    return { path, what: "new file" };
  }
  const info = await statPrimary(path);
  const what = info.isFile ? "file" : "block device";
  if (!force) {
    const does = what === "file" ? "it exists" : "it is a block device, and loses what it holds";
    throw usageError(`Cannot export to ${path}: ${does}`, { hint: "Use --force to overwrite it." });
  }
  await refuseInUse(path);
  // A link keeps its name and place; the file that it leads to is replaced.
  return { path: what === "file" ? Deno.realPathSync(path) : path, what };
}

/** Claims the output for an image of `sizeBytes`. */
export async function openOutput(
  output: Output,
  image: { sizeBytes: number; dataBlockBytes: number; force: boolean },
): Promise<ExportTarget> {
  const { path, what } = output;
  const { sizeBytes, force } = image;
  if (what === "new file") return await ImageFile.create(path, { sizeBytes, force, guard: null });
  const buffered = what === "file" ? true : "fallback";
  const disk = await BlockDevice.open(path, { access: "write", buffered, exclusive: true });
  try {
    await refusePrimary(disk);
    if (what === "file") return await ImageFile.create(path, { sizeBytes, force, guard: disk });
    checkDevice(disk, image);
    return new DeviceTarget(disk);
  } catch (error) {
    disk.close();
    throw error;
  }
}

async function refusePrimary(disk: BlockDevice): Promise<void> {
  const verdict = await readSuperblock(disk);
  if (verdict.kind === "absent" || verdict.kind === "damaged") return;
  const whose = verdict.kind === "valid" ? ` of device ${verdict.superblock.uuid}` : "";
  throw usageError(`Cannot export to ${disk.name}: it is the primary${whose}`, {
    hint: "Its metadata would not match its data any more. Export to another device or file.",
    context: { path: disk.name },
  });
}

function checkDevice(
  disk: BlockDevice,
  { sizeBytes, dataBlockBytes }: { sizeBytes: number; dataBlockBytes: number },
): void {
  const { sizeBytes: deviceBytes, logicalBlockBytes } = disk.geometry;
  if (alignUp(sizeBytes, logicalBlockBytes) > deviceBytes) {
    const sizes = `${formatSize(deviceBytes)} for an image of ${formatSize(sizeBytes)}`;
    throw usageError(`Cannot export to ${disk.name}: it is too small, ${sizes}`, {
      context: { deviceBytes, sizeBytes },
    });
  }
  if (dataBlockBytes % logicalBlockBytes !== 0) {
    throw usageError(
      `Cannot export to ${disk.name}: its blocks of ${logicalBlockBytes} bytes are greater than ` +
        `the replica's of ${dataBlockBytes}`,
      { hint: "Export to a file, and copy that." },
    );
  }
}

function isThere(path: string): boolean {
  // Whatever else is wrong with it, creating the file tells.
  return unlessMissingSync(() => Deno.lstatSync(path)) !== null;
}
