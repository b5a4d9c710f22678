// Chooses which of this machine's files the demo copies: a few hundred small ones and as many large
// ones as fill the size, spread over the folders, the same ones every time.

import type { FileSet } from "./job.ts";
import { DemoError } from "./stage.ts";
import { run } from "../guest/process.ts";

/** Every machine has them. */
export const FOLDERS: readonly string[] = ["/usr/bin", "/usr/lib", "/usr/share"];

const SMALL_BYTES = 64 * 1024;
/** Each file costs milliseconds where the CPU is emulated. */
const SMALL_COUNT_MAX = 500;
const LARGE_COUNT_MAX = 1000;
const FILE_BYTES_MAX = 48 * 1024 * 1024;

interface Candidate {
  readonly path: string;
  readonly sizeBytes: number;
}

/** Writes the list of at most `wantedBytes` of files and their hashes into `directory`. */
export async function chooseFiles(
  directory: string,
  { folders, wantedBytes }: { folders: readonly string[]; wantedBytes: number },
): Promise<FileSet> {
  const all: Candidate[] = [];
  for (const folder of folders) collect((await Deno.realPath(folder)).slice(1), all);
  const small = all.filter(({ sizeBytes }) => sizeBytes <= SMALL_BYTES);
  const someSmall = everyNth(small, Math.ceil(small.length / SMALL_COUNT_MAX));
  const chosen = spread(someSmall, wantedBytes / 8);
  const leftBytes = wantedBytes - sum(chosen);
  const leastBytes = Math.max(SMALL_BYTES + 1, leftBytes / LARGE_COUNT_MAX);
  const mostBytes = Math.min(FILE_BYTES_MAX, wantedBytes / 4);
  const large = all.filter(({ sizeBytes: bytes }) => bytes >= leastBytes && bytes <= mostBytes);
  chosen.push(...spread(large, leftBytes));
  if (chosen.length === 0) throw new DemoError(`there are no files in ${folders.join(", ")}`);
  const listPath = `${directory}/files.txt`;
  await Deno.writeTextFile(listPath, chosen.map(({ path }) => `${path}\n`).join(""));
  const sumsPath = `${directory}/SHA256SUMS`;
  const sums = await run("xargs", ["-a", listPath, "-d", "\\n", "sha256sum"], { cwd: "/" });
  await Deno.writeTextFile(sumsPath, sums);
  return { listPath, sumsPath, count: chosen.length, totalBytes: sum(chosen) };
}

function collect(folder: string, into: Candidate[]): void {
  const entries = [...Deno.readDirSync(`/${folder}`)];
  for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = `${folder}/${entry.name}`;
    // Caches may change at any time; sha256sum escapes unusual names.
    if (entry.name === "__pycache__" || !/^[\w@%+=:,.~ /-]+$/.test(path)) continue;
    if (entry.isDirectory) collect(path, into);
    if (!entry.isFile) continue;
    const { size } = Deno.lstatSync(`/${path}`);
    if (size > 0) into.push({ path, sizeBytes: size });
  }
}

/** Files of about as many bytes, at most, evenly over the list. */
function spread(files: readonly Candidate[], bytes: number): Candidate[] {
  const fraction = Math.min(1, bytes / Math.max(1, sum(files)));
  let due = 0;
  return files.filter(({ sizeBytes }) => {
    due += sizeBytes * fraction;
    if (due < sizeBytes) return false;
    due -= sizeBytes;
    return true;
  });
}

function everyNth(files: readonly Candidate[], n: number): Candidate[] {
  return files.filter((_, index) => index % n === 0);
}

function sum(files: readonly Candidate[]): number {
  return files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
}
