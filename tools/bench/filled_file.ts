// A primary for the native measurements: a file on this machine's disk of which every block is written.

import { MiB } from "../../src/base/units.ts";

/** Runs `body` with a new file of `sizeBytes`, a multiple of 1 MiB, which is removed afterwards. */
export async function withFilledFile<T>(
  sizeBytes: number,
  body: (path: string) => Promise<T>,
): Promise<T> {
  const path = await Deno.makeTempFile({ prefix: "bench-" });
  try {
    await fill(path, sizeBytes);
    return await body(path);
  } finally {
    await Deno.remove(path);
  }
}

async function fill(path: string, sizeBytes: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  const chunk = new Uint8Array(MiB).fill(0x5a);
  for (let at = 0; at < sizeBytes; at += MiB) await file.write(chunk);
  await file.sync();
}
