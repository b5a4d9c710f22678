// Primaries on real files: sparse, in a folder of their own that goes when the test ends.

/** Runs `body` with a new folder, in `parent` or among the temporary ones, which is removed afterwards. */
export async function withTempDir(
  body: (path: string) => Promise<void>,
  parent?: string,
): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "io-replica-", dir: parent });
  try {
    await body(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** A sparse file of `sizeBytes`; returns its path. */
export async function sparseFile(path: string, sizeBytes: number): Promise<string> {
  await Deno.writeFile(path, new Uint8Array());
  await Deno.truncate(path, sizeBytes);
  return path;
}

/** Runs a program and returns its standard output; throws with its complaints when it fails. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command(program, {
    args,
    env: { PATH: `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin` },
    stdout: "piped",
    stderr: "piped",
  });
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${program} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}
