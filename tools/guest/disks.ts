// Disk options → QEMU arguments. A disk is a chain of block nodes, from the file upwards:
// file → blkdebug (faults) → blklogwrites (write log) → throttle → device.

import type { DiskOptions } from "./options.ts";

type BlockNode = Record<string, unknown>;

/** The file behind a disk, created if need be. `index` names disks without a path. */
export async function prepareDisk(
  disk: DiskOptions,
  index: number,
  directory: string,
): Promise<string> {
  const path = disk.path ?? `${directory}/disk${index}.img`;
  const info = await Deno.stat(path).catch(missingAsUndefined);
  if (!info) {
    if (disk.sizeBytes === undefined) throw new Error(`Disk ${path} needs a size to be created`);
    await Deno.writeFile(path, new Uint8Array(0), { createNew: true });
    await Deno.truncate(path, disk.sizeBytes);
  }
  if (disk.writeLogPath !== undefined) {
    await Deno.writeFile(disk.writeLogPath, new Uint8Array(0));
    // Sparse, and greater than any test writes; the log does not grow by itself.
    await Deno.truncate(disk.writeLogPath, 64 * 1024 ** 3);
  }
  return path;
}

/** The QEMU arguments that attach the disk whose file is `path`. */
export function diskArguments(disk: DiskOptions, index: number, path: string): string[] {
  const cache = disk.cache ?? "none";
  const args: string[] = [];
  let top = `file${index}`;
  const node = (name: string, value: BlockNode) => {
    args.push("-blockdev", JSON.stringify({ "node-name": name, ...value }));
    top = name;
  };
  node(top, {
    driver: Deno.statSync(path).isBlockDevice ? "host_device" : "file",
    filename: path,
    aio: cache === "none" || cache === "directsync" ? "io_uring" : "threads",
    discard: "unmap",
    "read-only": disk.readOnly ?? false,
    cache: { direct: cache === "none" || cache === "directsync", "no-flush": cache === "unsafe" },
  });
  if (disk.faults) {
    const rules = disk.faults.map((fault) => ({
      event: "none",
      iotype: fault.type,
      errno: fault.errno ?? 5,
      once: fault.once ?? false,
      ...(fault.sector === undefined ? {} : { sector: fault.sector }),
    }));
    node(`debug${index}`, { driver: "blkdebug", image: top, "inject-error": rules });
  }
  if (disk.writeLogPath !== undefined) {
    const file = top;
    node(`log${index}`, { driver: "file", filename: disk.writeLogPath });
    node(`logged${index}`, {
      driver: "blklogwrites",
      file,
      log: `log${index}`,
      "log-sector-size": 512,
      "log-super-update-interval": 1,
    });
  }
  if (disk.throttle) {
    const limits = {
      "iops-total": disk.throttle.iopsTotal ?? 0,
      "iops-write": disk.throttle.iopsWrite ?? 0,
      "bps-total": disk.throttle.bytesPerSecond ?? 0,
    };
    args.push(
      "-object",
      JSON.stringify({ "qom-type": "throttle-group", id: `tg${index}`, limits }),
    );
    node(`slow${index}`, { driver: "throttle", "throttle-group": `tg${index}`, file: top });
  }
  args.push(...deviceArguments(disk, index, top));
  return args;
}

function deviceArguments(disk: DiskOptions, index: number, node: string): string[] {
  const cache = disk.cache ?? "none";
  const device: Record<string, unknown> = { drive: node, serial: diskName(disk, index) };
  if (disk.logicalBlockBytes) device.logical_block_size = disk.logicalBlockBytes;
  const physical = disk.physicalBlockBytes ?? disk.logicalBlockBytes;
  if (physical) device.physical_block_size = physical;
  if (disk.bus === "nvme") return ["-device", JSON.stringify({ driver: "nvme", ...device })];
  device["write-cache"] = cache === "writethrough" || cache === "directsync" ? "off" : "on";
  // An error reaches the guest as an error instead of stopping the machine.
  device.rerror = "report";
  device.werror = "report";
  device.iothread = `io${index}`;
  return [
    ...["-object", `iothread,id=io${index}`],
    ...["-device", JSON.stringify({ driver: "virtio-blk-pci", ...device })],
  ];
}

/** The disk's name in /dev/disk/by-id/ of the guest. */
export function diskName(disk: DiskOptions, index: number): string {
  const name = disk.name ?? `disk${index}`;
  if (!/^[\w-]{1,20}$/.test(name)) throw new Error(`"${name}" cannot be the name of a disk`);
  return name;
}

function missingAsUndefined(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
  return undefined;
}
