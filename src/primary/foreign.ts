// Looks at what a primary holds before it is formatted. Read-only. Callers: format.

import {
  type ForeignContent,
  foreignContents,
  SIGNATURE_HEAD_BYTES,
} from "../format/foreign_signature.ts";
import { PAGE_BYTES } from "../format/sealed_page.ts";
import { alignDown } from "../base/units.ts";
import { usageError } from "../base/errors.ts";
import type { Disk } from "./disk.ts";

/** blkid's answers for "nothing found" and "several things found". */
const BLKID_NOTHING = 2;
const BLKID_AMBIGUOUS = 8;

/** What blkid calls the contents of `path`; empty also where blkid is not installed. */
export async function probeWithBlkid(path: string): Promise<string[]> {
  const command = new Deno.Command("blkid", {
    args: ["-p", "-o", "export", "--", path],
    env: { PATH: `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin` },
    stdout: "piped",
    stderr: "null",
  });
  try {
    const { code, stdout } = await command.output();
    if (code === BLKID_AMBIGUOUS) return ["several file systems"];
    if (code === BLKID_NOTHING) return [];
    const lines = new TextDecoder().decode(stdout).split("\n");
    return lines.flatMap((line) => /^(?:TYPE|PTTYPE)=(.+)$/.exec(line)?.[1] ?? []);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** What foreign_signature.ts calls what blkid calls otherwise. */
const OWN_NAMES: Readonly<Record<string, string>> = {
  ext2: "ext2/3/4",
  ext3: "ext2/3/4",
  ext4: "ext2/3/4",
  dos: "dos partition table",
};

/** File systems, partition tables and the like on a primary, with their ends where they tell. */
export async function findForeign(disk: Disk): Promise<ForeignContent[]> {
  const headBytes = alignDown(Math.min(SIGNATURE_HEAD_BYTES, disk.sizeBytes), PAGE_BYTES);
  if (headBytes < PAGE_BYTES) return [];
  const sized = foreignContents(await disk.read(0, headBytes));
  const found = new Set(sized.map(({ type }) => type));
  // What only blkid has found - on another page size, a later version - has a size that nobody told us.
  const others = (await probeWithBlkid(disk.name))
    .filter((type) => !found.has(OWN_NAMES[type] ?? type))
    .map((type) => ({ type, endBytes: null }));
  return [...sized, ...others];
}

/** Throws a usage error when some content ends beyond the device, or does not tell where. */
export function refuseForeign(
  contents: readonly ForeignContent[],
  { name, deviceSizeBytes }: { name: string; deviceSizeBytes: number },
): void {
  for (const { type, endBytes } of contents) {
    if (endBytes !== null && endBytes <= deviceSizeBytes) continue;
    const reach = endBytes === null
      ? "does not tell its size and may reach to the end, which the metadata needs"
      : `is ${endBytes} bytes long, and the device would end at ${deviceSizeBytes}`;
    throw usageError(`Cannot format ${name}: the ${type} on it ${reach}`, {
      hint: "Shrink it first to keep it, or use --force to lose it (its end is overwritten).",
      context: { type, endBytes: endBytes ?? undefined, deviceSizeBytes },
    });
  }
}
