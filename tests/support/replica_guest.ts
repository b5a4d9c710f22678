// Runs an io-replica scenario in a guest and fails unless the guest, its command and its kernel are
// well. Called by tests/e2e/replica_*_test.ts.

import { MiB } from "../../src/base/units.ts";
import { type GuestOptions, type GuestResult } from "../../tools/guest/guest.ts";
import { kernelTrouble, runGuest } from "../../tools/guest/guest.ts";
import { assertEquals } from "./assert.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

function explain(result: GuestResult): string {
  return [result.stdout, result.stderr, result.kernelLog, result.qemuLog].join("\n");
}

export interface ReplicaGuestOutput {
  /** The folder that the guest shared, gone afterwards. */
  readonly share: string;
  /** The file behind the first disk. */
  readonly primary: string;
  readonly lines: readonly string[];
}

/** `check` sees what the scenario printed and left in the shared folder. */
export async function replicaGuest(
  script: string,
  check: (output: ReplicaGuestOutput) => void | Promise<void>,
  options: Partial<GuestOptions> & { primaryMib?: number } = {},
): Promise<void> {
  const { primaryMib = 64, disks = [], env = {}, ...rest } = options;
  const share = await Deno.makeTempDir({ prefix: "replica-" });
  const primary = `${share}/primary.img`;
  try {
    const result = await runGuest({
      command: `. ${ROOT}tests/e2e/programs/replica_prelude.sh\n${script}`,
      env: { ROOT, SHARE: share, ...env },
      share,
      disks: [{ path: primary, sizeBytes: primaryMib * MiB }, ...disks],
      timeLimitMs: 400_000,
      ...rest,
    });
    assertEquals([result.outcome, result.exitCode], ["exited", 0], explain(result));
    assertEquals(kernelTrouble(result.kernelLog), [], explain(result));
    await check({ share, primary, lines: result.stdout.trim().split("\n") });
  } finally {
    await Deno.remove(share, { recursive: true });
  }
}

/** The one entry of a directory. */
export async function onlyChild(directory: string): Promise<string> {
  const names = await Array.fromAsync(Deno.readDir(directory), (entry) => entry.name);
  assertEquals(names.length, 1);
  return `${directory}/${names[0]}`;
}
